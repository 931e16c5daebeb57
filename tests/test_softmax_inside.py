# SPDX-License-Identifier: Apache-2.0
"""A softmax with whose result a network computes: the same integers everywhere, their exact ranges, files of
quantisers against ONNX Runtime, certificates."""

import numpy as np
import onnx
import pytest
import softmax_nets
from onnx import helper
from onnx_nets import Net, session
from pipeline import refused, same_network
from replay import replay
from softmax_nets import FORMS
from test_attention import attention

from tinybound.asks import Ask, answer
from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.ops import Softmax
from tinybound.ops.final import maker
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")

EVERYWHERE = ["host", "host-sanitized", "cortex-m4", "cortex-m0plus", "rv32imc"]
EACH = [(form, bits) for form in FORMS for bits in (8, 16)]
SLOWER = [each if each == ("shown", 8) else pytest.param(*each, marks=pytest.mark.slow) for each in EACH]


# -- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_float_meaning_is_onnx_runtimes(form, tmp_path):
    path, shape = softmax_nets.save(form, tmp_path)
    graph, reference = load_onnx(path).graph, session(path)

    x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    got = run(graph, {"x": x[0].astype(np.float64)})
    for name, want in zip(graph.outputs, reference.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(got[name].ravel(), want.ravel(), rtol=1e-5, atol=1e-6)
    assert same_network(path)


def built(form, bits, folder):
    path, shape = softmax_nets.save(form, folder)
    options = Options(domain="-1,1", target="c" if bits == 16 else "all", activations=bits)
    return compile_model(path, folder / "B", options), shape[1:]


def confirmed(build):
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]


@pytest.mark.parametrize(("form", "bits"), SLOWER)
def test_a_network_is_exact_and_certified(form, bits, tmp_path):
    build, shape = built(form, bits, tmp_path)

    verdict = build.verify(["host"])
    print({name: stage.mismatches for name, stage in verdict.stages.items()}, verdict.bound)
    assert verdict.ok
    confirmed(build)
    x = np.random.default_rng(0).uniform(-1, 1, (30, *shape))
    shown = build.predict({"x": x})
    for name, twin in zip(build.graph.outputs, build.float_graph.outputs, strict=True):
        real = np.stack([run(build.float_graph, {"x": each})[twin] for each in x])
        entry = build.certificate["outputs"][name]
        most = entry.get("probability_bound") or np.reshape(entry["bound"], real.shape[1:])
        assert (np.abs(shown[name] - real) <= most).all()


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("form", FORMS)
def test_a_network_is_exact_on_every_executor(form, bits, tmp_path):
    build, shape = built(form, bits, tmp_path)
    x = np.random.default_rng(1).uniform(-1.2, 1.2, (60, *shape))
    x[0], x[1], x[2] = -9, 9, 0
    verdict = build.verify([*EVERYWHERE, *(["rtl"] if bits == 8 else [])], {"x": x})
    print({name: stage.mismatches for name, stage in verdict.stages.items()})
    assert verdict.ok


@pytest.mark.parametrize(
    ("heads", "bits", "size"),
    [
        (1, 16, (3, 4)),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((2, 8, (5, 8)), (2, 16, (4, 6)))),
    ],
)
def test_an_attention_block(heads, bits, size, tmp_path):
    """MatMul, Softmax, MatMul of what the network computes."""
    net = Net(1, *size, seed=heads)
    path = net.save(tmp_path, attention(net, heads=heads, size=size, function="Softmax"))
    options = Options(domain="-0.5,0.5", target="all" if (heads, bits) == (2, 8) else "c", activations=bits)
    build = compile_model(path, tmp_path / "B", options)

    assert same_network(path)
    everywhere = [*EVERYWHERE, *(["rtl"] if bits == 8 else [])] if heads > 1 else ["host"]
    verdict = build.verify(everywhere)
    print({name: stage.mismatches for name, stage in verdict.stages.items()}, verdict.bound)
    assert verdict.ok
    confirmed(build)


def test_weights_that_are_an_output_too_are_bounded_themselves(tmp_path):
    """Only where nothing computes with them, logits are bounded in their place."""
    build, _ = built("shown", 8, tmp_path)
    one, p = (build.certificate["outputs"][name] for name in build.graph.outputs)
    assert p["value"] == build.graph.outputs[1]
    assert "probability_bound" not in p
    assert 1 / 512 < max(p["bound"]) < 0.02
    assert max(one["bound"]) < 0.03
    listed = [layer for layer in build.certificate["layers"] if layer["op"] == "Softmax"]
    assert len(listed) == 1


@pytest.mark.slow
def test_what_certify_answers(command, tmp_path):
    build, _ = built("gate", 8, tmp_path)
    assert sum(row["share"] for row in answer(build.folder, Ask(shares=True))["rows"]) == pytest.approx(1)
    other = softmax_nets.save("gate", tmp_path)[0]
    near = answer(build.folder, Ask(reference=other))
    assert all(0 < row["attack"] <= row["bound"] for row in near["rows"])
    single = command("certify", build.folder, "--arithmetic", "float32", "--timeout", "0")
    assert single.code == 0, single.err
    confirmed(build)
    merged = command("certify", build.folder, "--export-merged", tmp_path / "M.onnx")
    assert merged.code == 2
    assert "a softmax inside the network; expected one as the last op only" in merged.err


# -- files of quantisers --------------------------------------------------------------------------

KINDS = {"s8": np.int8, "u8": np.uint8, "s16": np.int16, "u16": np.uint16}
SCALES = {8: (1 / 256, 1 / 255, 1 / 127, 0.0021, 0.011), 16: (1 / 65536, 1 / 65535, 1 / 32768, 0.00002)}


def qdq(folder, kind, out, scale, axis, shape):
    """A softmax between quantisers, and a product behind it."""
    net, info = Net("N", *shape, opset=21, seed=1), np.iinfo(KINDS[kind])
    middle = 0 if info.min else 1 << (info.bits - 1)
    y = net.quantised("x", 1 / 20 if info.bits == 8 else 1 / 4000, middle + 5, KINDS[kind])
    low = np.iinfo(KINDS[out]).min
    zero = 0 if low and scale in (1 / 127, 1 / 32768) else low
    p = net.quantised(net.put("Softmax", y, axis=axis), scale, zero, KINDS[out])
    z = net.quantised(net.put("Mul", p, y), 1 / 25 if info.bits == 8 else 1 / 5000, middle, KINDS[kind])
    return net.save(folder, net.put("Relu", z))


def of_softmax(whole, value):
    made = maker(whole, value)
    return made is not None and isinstance(made.op, Softmax)


def agreement(kinds, folder):
    """(differing, compared, worst) integers of softmax layers against ONNX Runtime, inputs replayed."""
    differing, compared, worst = 0, 0, 0.0
    for kind, out, axis, shape in kinds:
        for scale in SCALES[np.iinfo(KINDS[out]).bits]:
            path = qdq(folder, kind, out, scale, axis, shape)
            assert same_network(path)
            x = np.random.default_rng(3).normal(0, 2.5, (16, *shape)).astype(np.float32)
            seen, whole = replay(path, x, optimise=False)
            (found,) = [seen[value] for value in seen if of_softmax(whole, value)]
            differing, compared = differing + found.differing, compared + found.compared
            worst = max([worst, *(found.worst for found in seen.values())])
    return differing, compared, worst


AXES = ((-1, (4, 6)), (1, (5, 3)), (1, (4, 3, 2)), (2, (2, 5, 3)))


@pytest.mark.parametrize(
    ("kind", "out"),
    [("s8", "s8"), ("s16", "s16"), *(pytest.param(k, k, marks=pytest.mark.slow) for k in ("u8", "u16"))],
)
def test_onnx_runtime_is_within_a_step(kind, out, tmp_path):
    kinds = [(kind, out, axis, shape) for axis, shape in AXES]
    differing, compared, worst = agreement(kinds, tmp_path)
    print(f"{kind}: {differing} of {compared} integers differ, by {worst} steps at most")
    assert worst <= 1
    assert differing <= 0.02 * compared


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_operators_on_integers(kind, axis, tmp_path):
    """QLinearSoftmax, along any axis, and a product of what it returns."""
    net, low = Net(1, 4, 6, seed=axis + 1), np.iinfo(kind).min
    x = net.constant(0.04), net.constant(low + 130, kind)
    p = net.constant(1 / 256 if axis == 1 else 1 / 255), net.constant(low, kind)
    z = net.constant(0.03), net.constant(low + 120, kind)
    q = net.put("QuantizeLinear", "x", *x)
    y = net.put("QLinearSoftmax", q, *x, *p, axis=axis, opset=13)
    net.nodes[-1].domain = "com.microsoft"
    y = net.put("QLinearMul", y, *p, q, *x, *z)
    net.nodes[-1].domain = "com.microsoft"
    model = net.model(net.put("DequantizeLinear", y, *z), infer=False)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))

    assert same_network(path)
    samples_of_x = np.random.default_rng(2).normal(0, 2, (20, 4, 6)).astype(np.float32)
    seen, _ = replay(path, samples_of_x, optimise=False)
    for name, found in seen.items():
        print(name, f"{found.differing} of {found.compared}, {found.worst}")
        assert found.worst <= 1


def test_what_no_law_can_store_is_refused(tmp_path):
    for scale, zero in ((1.5, -128), (1e-8, -128)):
        net = Net(1, 6)
        y = net.quantised("x", 0.05, 0, np.int8)
        y = net.quantised(net.put("Softmax", y, name="p"), scale, zero, np.int8)
        refused(
            net.save(tmp_path, net.put("Relu", y)),
            "^p: a softmax stored in steps of .* steps of 5.96e-08 to 1",
        )
