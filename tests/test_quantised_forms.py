# SPDX-License-Identifier: Apache-2.0
"""Quantised forms: the integer network gives ONNX Runtime's numbers, and the checker reads them alike."""

import numpy as np
import pytest
from onnx_forms_quantised import FORMS, MAP, NARROW, around, conv, ints
from onnx_nets import INT8, UINT8, Net, session
from pipeline import refused, same_network
from replay import integer_graph, real_range

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")


def saved(form, tmp_path):
    shape, opset, write = FORMS[form]
    net = Net(*shape, opset=opset)
    y = write(net)
    y = y if net.nodes[-1].op_type == "DequantizeLinear" else net.quantised(y, 0.05, 7, np.int8)
    return net.save(tmp_path, y), shape


def domain(shape, tmp_path):
    """A small box away from zero."""
    low = np.random.default_rng(1).uniform(-0.5, 0.4, shape[1:])
    np.savez(tmp_path / "box.npz", lower=low, upper=low + 0.05)
    return str(tmp_path / "box.npz")


def differences(path, shape, count=20, kind=None, reference=None):
    """Of the outputs, in steps of the output's scale: (how many differ, how many compared, the largest)."""
    imported, graph = integer_graph(path)
    reference, rng = reference or session(path), np.random.default_rng(0)
    differing = compared = 0
    worst = 0.0
    for i in range(count):
        scale, feeds, integers = None, {}, {}
        for name in graph.inputs:
            unit, low = graph.values[name].quant, real_range(imported, name)
            q = rng.integers(-128, 128, graph.values[name].shape)
            q = q if i else np.full(q.shape, 127)
            integers[name] = q
            real = ((q - unit.zero) * float(unit.scale[0])).astype(np.float32)
            stored = q + (128 if kind == np.uint8 else 0)
            feeds[name] = (real if kind is None else stored.astype(kind))[None]
            assert low[0] <= real.min()
        values = run(graph, integers)
        for name, want in zip(graph.outputs, reference.run(None, feeds), strict=True):
            unit = graph.values[name].quant
            scale = float(unit.scale[0])
            gap = np.abs((values[name] - unit.zero) * scale - want[0]) / scale
            worst, compared = max(worst, float(gap.max())), compared + gap.size
            differing += int((gap > 0.01).sum())
    print(f"{differing} of {compared} elements differ, at most by {worst:.3f} steps")
    return differing, compared, worst, graph


@pytest.mark.parametrize("form", FORMS)
def test_the_integers_are_onnx_runtimes(form, tmp_path):
    path, shape = saved(form, tmp_path)

    differing, compared, worst, _ = differences(path, shape)

    assert compared >= 60
    assert worst <= 1.01
    assert differing <= 2e-3 * compared + 1  # random scales: float32 near a rounding tie


@pytest.mark.parametrize("form", FORMS)
def test_the_checker_reads_the_same_network(form, tmp_path):
    path, _ = saved(form, tmp_path)
    assert same_network(path) > 0


@pytest.mark.parametrize("form", ["padded max pool of integers", "4 bits in uint8"])
def test_a_certificate_is_accepted(form, tmp_path):
    path, shape = saved(form, tmp_path)

    compile_model(path, tmp_path / "build", Options(domain=domain(shape, tmp_path), target="c"))

    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


@pytest.mark.parametrize("form", NARROW)
def test_narrow_integers_stay_in_their_range(form, tmp_path):
    path, _ = saved(form, tmp_path)
    imported, graph = integer_graph(path)
    narrow = [s for s in imported.activations.values() if (s.lo, s.hi) != (-128, 127)]
    assert len(narrow) == 1
    (wanted,) = narrow
    name = next(n for n, s in imported.activations.items() if s == wanted)
    assert name not in graph.inputs
    assert graph.values[name].range.lo == wanted.lo
    assert graph.values[name].range.hi == wanted.hi


@pytest.mark.parametrize(("kind", "dtype"), [(INT8, np.int8), (UINT8, np.uint8)])
def test_an_integer_input_is_moved_before_it_is_dequantised(kind, dtype, tmp_path):
    net = Net(1, 6, 6, 4, kind=kind)
    x = net.put("Transpose", "x", perm=[0, 3, 1, 2])
    x = net.put("DequantizeLinear", x, net.constant(0.02), net.constant(9, dtype))
    path = net.save(tmp_path, net.quantised(conv(net, x), 0.05, 4, dtype))
    imported = load_onnx(path)
    assert imported.activations["x"].zero == 9 - (128 if dtype == np.uint8 else 0)
    differing, compared, worst, _ = differences(path, (1, 6, 6, 4), kind=dtype)
    assert (compared >= 1000, worst <= 1.01, differing <= 2e-3 * compared) == (True, True, True)


def _beyond(net):
    """A number that the scale in front of the Pad cannot hold."""
    x = net.quantised("x", 0.02, 3, np.int8)
    y = net.put("Pad", x, ints(net, 0, 0, 1, 0, 0, 0, 0, 0), net.constant(50.0), name="odd")
    return net.quantised(y, 0.5, 0, np.int8)


def _integers(net, kind, *more, **attributes):
    pair = net.constant(0.1), net.constant(3, np.int8)
    q = net.put(kind, net.put("QuantizeLinear", "x", *pair), *more, name="odd", **attributes)
    return net.put("DequantizeLinear", q, *pair)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda n: _integers(n, "Relu"), "odd: Relu of quantised integers"),
        (_beyond, "odd: a Pad with 50; expected -2.6"),
        (lambda n: _integers(n, "Add", n.constant(np.ones((4, 1, 1)), np.int8)), "odd: Add of quantised"),
        (lambda n: _integers(n, "Clip", n.constant(5, np.int8), n.constant(5, np.int8)), "odd: a Clip that"),
        (lambda n: _integers(n, "Clip", n.put("Shape", "x")), "odd: a limit of quantised integers"),
        (lambda n: _join(n), "odd: Concat of quantised integers"),  # noqa: PLW0108 -- defined below
        (lambda n: _two_scales(n), "a scale that differs"),  # noqa: PLW0108 -- defined below
    ],
)
def test_what_is_refused_by_name(write, message, tmp_path):
    net = Net(*MAP, opset=14)
    refused(net.save(tmp_path, write(net), infer=False), message)


def _join(net):
    """Integers of two scales."""
    parts = [net.put("QuantizeLinear", "x", net.constant(s), net.constant(0, np.int8)) for s in (0.2, 0.1)]
    y = net.put("Concat", *parts, axis=1, name="odd")
    return net.put("DequantizeLinear", y, net.constant(0.1), net.constant(0, np.int8))


def _two_scales(net):
    """The integers of one input mean one thing."""
    net.inputs[0].type.tensor_type.elem_type = INT8
    flat = net.put("Flatten", "x")
    a, b = (net.put("DequantizeLinear", flat, net.constant(s), net.constant(0, np.int8)) for s in (0.1, 0.2))
    return net.put("Add", a, b)


def test_a_clip_of_an_integer_input_is_refused(tmp_path):
    net = Net(*MAP, kind=INT8)
    x = net.put("Clip", "x", net.constant(-8, np.int8), net.constant(7, np.int8), name="odd")
    x = net.put("DequantizeLinear", x, net.constant(0.1), net.constant(0, np.int8))
    refused(net.save(tmp_path, net.put("Relu", x)), "odd: Clip of quantised integers")


def test_a_move_in_the_middle_keeps_one_requantisation(tmp_path):
    net = Net(*MAP)
    y = around(net, conv(net, "x"), 0.03, 5, np.int8, ("Reshape", [ints(net, 1, -1)], {}))
    graph = load_onnx(net.save(tmp_path, y)).graph
    assert [type(n.op).__name__ for n in graph.nodes] == ["Conv", "Clip", "Reshape"]
