# SPDX-License-Identifier: Apache-2.0
"""Functions and softmax of 16-bit integers: near the function, the same integers everywhere, certified."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import samples
import slow
from int16_nets import quantised
from onnx_nets import Net
from pipeline import same_network
from replay import replay
from test_int16 import MACHINES, WHOLE, wide

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.checker.curves import read_curve
from tinybound.checker.layers import Layer, Meaning
from tinybound.domains.exact import run
from tinybound.domains.interval import Interval
from tinybound.domains.pair_softmax import Law
from tinybound.errors import CompileError
from tinybound.ops import Elu, Erf, Gelu, HardSigmoid, HardSwish, LeakyRelu, Sigmoid, Softmax, Softplus, Tanh
from tinybound.ops.base import Sample, Scaled
from tinybound.ops.function import Function
from tinybound.ops.trunc import Trunc
from tinybound.options import Options
from tinybound.quantise.curves import curve

pytestmark = pytest.mark.usefixtures("quick_attack")

Q = np.arange(-32768, 32768)
FUNCTIONS = {
    "Sigmoid": (Sigmoid(), (0, 1)),
    "Tanh": (Tanh(), (-1.01, 1.01)),
    "Gelu": (Gelu(), (-0.17, 6)),
    "Gelu tanh": (Gelu("tanh"), (-0.17, 6)),
    "Gelu that saturates": (Gelu(), (-0.17, 1)),
    "LeakyRelu": (LeakyRelu(), (-0.06, 6)),
    "LeakyRelu falling": (LeakyRelu(-0.5), (-1, 6)),
    "HardSigmoid": (HardSigmoid(), (0, 1)),
    "HardSigmoid steep": (HardSigmoid(3.0, 0.25), (0, 1)),
    "HardSigmoid flat": (HardSigmoid(0.0, 0.25), (0, 1)),
    "HardSwish": (HardSwish(), (-0.375, 6)),
    "Elu": (Elu(), (-1.01, 6)),
    "Elu with a kink": (Elu(0.4), (-0.5, 6)),
    "Erf": (Erf(), (-1.01, 1.01)),
    "Softplus": (Softplus(), (0, 6)),
}
FORMS = (  # reach of the input, its zero point, ends of the output
    (6.0, 0, (-32768, 32767)),
    (0.7, -1001, (-128, 127)),
    (60.0, -32768, (-32768, 32767)),
    (60.0, -77, (-32768, 32767)),
    (6.0, 32767, (-9, 900)),
)


def scales(fn, out, form):
    reach, zero, ends = form
    step = Fraction(float(np.float32((out[1] - out[0]) / (ends[1] - ends[0]))))
    source = Scaled(Fraction(float(np.float32(reach / 32767))), zero, -32768, 32767)
    return source, Scaled(step, round(ends[0] - out[0] / step), *ends)


def exact(fn, source, target):
    """What the function makes of every integer, in steps, before they are rounded."""
    return fn((Q - source.zero) * float(source.scale)) / float(target.scale)


def as_layer(c, zero):
    """The curve as the checker reads it."""
    fields = {key: getattr(c, key) for key in ("knots", "bends", "knees", "bits", "parity", "lo", "hi")}
    return Layer("c", "Curve", ("x",), "y", fields), Meaning((Fraction(1),), zero, c.lo, c.hi)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_curve_is_its_function_within_a_step(name):
    """Few elements differ from the exactly rounded function, and these lie next to a tie."""
    fn, out = FUNCTIONS[name]
    for form in FORMS:
        source, target = scales(fn, out, form)
        c = curve("n", fn, source, target)
        steps = exact(fn, source, target)
        wanted = np.clip(np.rint(steps) + target.zero, target.lo, target.hi)
        gap = np.abs(c.entries - wanted)
        assert gap.max() <= 1
        off = gap > 0
        assert off.mean() < 0.01
        assert np.abs(np.abs(steps[off] - np.floor(steps[off])) - 0.5).max(initial=0) <= 0.25
        assert np.abs(c.values()).max() < 1 << 31
        assert np.abs(c.knots).max() << c.bits <= 1 << 30
        assert len(c.knots) <= (1 << (16 - c.bits)) + 1 + 2 * len(c.knees)
        np.testing.assert_array_equal(read_curve(*as_layer(c, target.zero)), c.entries)
        kinks = [int(k) + i for k in c.knees for i in (-1, 0, 1)]
        some = np.array([*Q[:3], *Q[-3:], *Q[::977], *kinks]).clip(-32768, 32767)
        np.testing.assert_array_equal(slow.curve(c, some), c.entries[some + 32768])


@pytest.mark.parametrize("zero", [0, -1001, 32766])
@pytest.mark.parametrize("alpha", [0.5, 0.25, -1.0])
def test_ties_go_to_the_even_step(alpha, zero):
    """Powers of two: every second integer is a tie, and all are right, whatever the zero points."""
    fn = LeakyRelu(alpha)
    for out in (0, 1, -32767):
        source, target = replace(WHOLE, zero=zero), replace(WHOLE, zero=out)
        below = np.rint(np.minimum(Q - zero, 0) * alpha)  # exact: ties are, and go to the even integer
        wanted = np.clip(below + np.maximum(Q - zero, 0) + out, -32768, 32767)
        c = curve("n", fn, source, target)
        np.testing.assert_array_equal(c.entries, wanted)
        assert not c.bends.any()


def test_what_pieces_cannot_follow_is_refused():
    steep = replace(WHOLE, scale=Fraction(1, 100))
    with pytest.raises(CompileError, match=r"n: a Tanh of 16-bit integers that 2049 knots miss by .*8 bits"):
        curve("n", Tanh(), steep, Scaled(Fraction(1, 32768), 0, -32768, 32767))
    c = curve("n", Tanh(), steep, Scaled(Fraction(1, 127), 0, -128, 127))
    np.testing.assert_array_equal(c.entries[[0, 32768, -1]], [-127, 0, 127])


def parts():
    """Every function and softmax from 16 bits, to 16 and to 8; rows whose sums need 31 bits, and 64."""
    found = []
    for name, sample in samples.all_samples():
        op, long = sample.float_op, tuple(map(wide, sample.inputs))
        if isinstance(op, Function) and not isinstance(op, Trunc):  # which is exact: tests/test_trunc16.py
            found.append((f"all_{name}", replace(sample, inputs=long, output=wide(sample.output))))
            found.append((f"down_{name}", replace(sample, inputs=long)))
        if isinstance(op, Softmax):
            out = replace(Softmax.wide_out, scale=sample.output.scale / 256)
            found.append((f"all_{name}", replace(sample, inputs=long, output=out)))
            found.append((f"up_{name}", replace(sample, output=out)))
            found.append((f"down_{name}", replace(sample, inputs=long)))
    cut, half = LeakyRelu(0.75), (replace(WHOLE, scale=Fraction(1, 4096)),)
    ends = replace(WHOLE, zero=101), Scaled(Fraction(1, 32), 3, -128, 127)
    found += [(f"saturated{out.hi}", Sample(cut, ((16,),), half, out)) for out in ends]
    fine = (replace(WHOLE, scale=Fraction(1, 3000)),)
    coarse = (replace(WHOLE, scale=Fraction(1)),)
    for count, source in ((1, fine), (64, fine), (65, fine), (64, coarse)):
        found.append(
            (f"softmax{count}{source is fine}", Sample(Softmax(), ((count,),), source, Softmax.wide_out))
        )
    return found


@pytest.fixture(scope="module")
def whole():
    return samples.build("curves", parts(), relu=False)[1]


@pytest.mark.parametrize(
    "machine",
    [pytest.param(m, id=m.name, marks=pytest.mark.slow if i > 1 else ()) for i, m in enumerate(MACHINES)],
)
def test_every_machine_gives_the_golden_integers(machine, whole, tmp_path):
    x = samples.vectors(whole, 24, 5)
    found = samples.OnMachine(machine)(whole, x, tmp_path)[8]
    wrong, compared, first = samples.mismatches(whole, x, found)
    print(f"{wrong} of {compared} elements differ")
    assert compared > 15_000
    assert wrong == 0, first


def test_golden_is_the_law(whole):
    x = samples.vectors(whole, 12, 7)
    for i in range(12):
        one = {name: array[i] for name, array in x.items()}
        want, got = slow.run(whole, one), run(whole, one)
        for name, wanted in want.items():
            np.testing.assert_array_equal(got[name], wanted)


def test_ranges_are_what_is_seen():
    """Of a curve exactly, over random ranges; of a softmax every corner lies inside."""
    rng = np.random.default_rng(0)
    c = curve(
        "n", HardSwish(), replace(WHOLE, scale=Fraction(1, 4000)), replace(WHOLE, scale=Fraction(1, 8000))
    )
    ends = np.sort(rng.integers(-32768, 32768, (2, 40)), axis=0)
    ends[:, 0], ends[:, 1] = (-32768, 32767), (5, 5)
    low, high = Interval().table((ends[0], ends[1]), c.entries, -32768)
    for i, (a, b) in enumerate(ends.T):
        seen = c.entries[a + 32768 : b + 32769]
        assert (low[i], high[i]) == (seen.min(), seen.max())


@pytest.mark.parametrize("count", [1, 2, 10, 64, 500])
def test_a_softmax_is_within_its_error(count):
    rng = np.random.default_rng(count)
    for scale in (Fraction(1), Fraction(1, 977), Fraction(1, 30000)):
        whole = samples.build(
            "s",
            [("s", Sample(Softmax(), ((count,),), (replace(WHOLE, scale=scale),), Softmax.wide_out))],
            relu=False,
        )[1]
        op, worst = whole.node("s").op, 0.0
        for i in range(20):
            q = rng.integers(-32768, 32768, count) if i else np.full(count, 32767)
            q = rng.normal(0, 4 / float(scale), count).clip(-32768, 32767).astype(int) if i > 10 else q
            reals = q * float(scale)
            p = np.exp(reals - reals.max())
            found = (run(whole, {"s.x0": q})["s.y"] + 32768) / 65536
            worst = max(worst, np.abs(found - p / p.sum()).max())
        error = Law.of(op.table, (op.bits, op.extra, op.zero, op.top), Softmax.wide_out.scale, count).error
        assert worst <= error
        assert error < 1.3 / 65536 or count > 64


def qdq(folder, op, kind, scale, out, two=False, **attributes):
    """One op of 16-bit integers, from and to `kind`; a convolution before it."""
    net = Net("N", *((4, 6) if op == "Softmax" else (4, 5, 6)), opset=21, seed=1)
    zero = 30011 if kind == np.uint16 else -19
    y = net.quantised("x", scale, zero, kind)
    y = net.put(op, y, *attributes.pop("more", ()), **attributes)
    return net.save(folder, net.quantised(y, *out, kind))


OPS = {
    "Sigmoid": ({}, (1 / 65535, -32768)),
    "Tanh": ({}, (1 / 32000, 3)),
    "Gelu": ({}, (1 / 4000, -30000)),
    "LeakyRelu": ({"alpha": 0.1}, (1 / 3777, -29000)),
    "HardSigmoid": ({}, (1 / 65535, -32768)),
    "HardSwish": ({}, (1 / 4000, -30000)),
    "Elu": ({"alpha": 0.8}, (1 / 3777, -27000)),
    "Erf": ({}, (1 / 20000, 3)),
    "Softplus": ({}, (1 / 4000, -30000)),
    "Softmax": ({"axis": -1}, (1 / 65535, -32768)),
}


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
@pytest.mark.parametrize("op", OPS)
def test_onnx_runtime_is_within_a_step(op, kind, tmp_path):
    attributes, (scale, zero) = OPS[op]
    out = scale, zero + (32768 if kind == np.uint16 else 0)
    path = qdq(tmp_path, op, kind, 1 / 4000, out, **attributes)
    x = np.random.default_rng(1).normal(0, 3, (40, *((4, 6) if op == "Softmax" else (4, 5, 6))))
    x.reshape(len(x), -1)[:, :3] = 9, -9, 0.001
    seen, graph = replay(path, x, optimise=False)
    for name, found in seen.items():
        print(op, kind.__name__, name, found)
        assert {graph.values[name].word} == {"int16"}
        assert found.worst <= 1
        if op != "Softmax":
            assert found.differing <= 0.02 * found.compared
    assert same_network(path) > 0


SLOWER = [pytest.param(op, marks=pytest.mark.slow) for op in ("Gelu", "LeakyRelu", "Sigmoid", "HardSigmoid")]


@pytest.mark.parametrize("op", ["HardSwish", *SLOWER])
def test_a_network_is_certified_and_checked(op, tmp_path):
    net = Net("N", 3, opset=21, seed=2)
    y = net.quantised("x", 1 / 8000, 21, np.int16)
    y = net.put("Gemm", y, net.weights(net.rng.integers(-127, 128, (3, 6)), 0.01), net.normal(6))
    y = net.put(op, net.quantised(y, 1 / 6000, -3000, np.int16))
    y = net.quantised(y, 1 / 7000, -1500, np.int16)
    y = net.put("Gemm", y, net.weights(net.rng.integers(-127, 128, (6, 4)), 0.01), net.normal(4))
    y = net.quantised(y, 1 / 3000, 0, np.int16)
    path = net.save(tmp_path, net.quantised(net.put("Softmax", y), 1 / 65535, -32768, np.int16))
    build = compile_model(path, tmp_path / "build", Options(target="c", domain="-1,1"))
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]
    (output,) = build.certificate["outputs"].values()
    print(op, max(output["attack"]), max(output["bound"]), output["probability_bound"], output["domains"])
    assert 0 < max(output["attack"]) <= max(output["bound"]) < 0.05
    assert output["probability_bound"] < 0.5 * max(output["bound"]) + 2e-5
    assert build.verify(["host"]).ok


def mobile(folder):
    """A float network as quantisers meet it: squeeze and excite, swish, PRelu, a softmax at its end."""
    net = Net("N", 3, 10, 8, opset=21, seed=4)
    x = net.put(
        "Conv", "x", net.normal(8, 3, 3, 3, scale=0.3), net.normal(8), pads=[1, 1, 1, 1], strides=[2, 2]
    )
    x = net.put("HardSwish", x)
    y = net.put("Conv", x, net.normal(8, 1, 3, 3), net.normal(8), pads=[1, 1, 1, 1], group=8)
    y = net.put("PRelu", y, net.constant(net.rng.uniform(0, 0.5, (8, 1, 1))))
    s = net.put("Conv", net.put("GlobalAveragePool", y), net.normal(4, 8, 1, 1), net.normal(4))
    s = net.put("HardSigmoid", net.put("Conv", net.put("Tanh", s), net.normal(8, 4, 1, 1), net.normal(8)))
    y = net.put("Add", x, net.put("Mul", y, s))
    y = net.put(
        "Gelu", net.put("Conv", net.put("LeakyRelu", y), net.normal(12, 8, 2, 2, scale=0.2), net.normal(12))
    )
    z = net.put("Sigmoid", net.put("Flatten", net.put("GlobalAveragePool", y)))
    z = net.put("Gemm", z, net.normal(12, 5), net.normal(5))
    return net.save(folder, net.put("Softmax", z), file="float.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["QUInt16", "QInt16"])
def test_a_whole_network(kind, tmp_path):
    """As ONNX Runtime quantises it: layer by layer within a step, then certified, checked and verified."""
    shape = (3, 10, 8)
    path = quantised(tmp_path, kind, mobile(tmp_path), shape)
    seen, _ = replay(path, np.random.default_rng(1).normal(0, 1.2, (12, *shape)), optimise=False)
    for name, found in seen.items():
        print(kind, name, found)
        assert found.worst <= 1
    low = np.random.default_rng(1).uniform(-0.5, 0.4, shape)
    np.savez(tmp_path / "box.npz", lower=low, upper=low + 0.01)
    build = compile_model(path, tmp_path / "build", Options(target="c", domain=str(tmp_path / "box.npz")))
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]
    assert {"Curve", "Softmax"} <= {type(node.op).__name__ for node in build.graph.nodes}
    print(build.certificate["outputs"])
    verdict = build.verify(["host", "cortex-m4"])
    assert verdict.ok


@pytest.mark.slow
def test_a_float_network(tmp_path):
    """The same from floats: 8 bits and 16."""
    path, bounds = mobile(tmp_path), []
    low = np.random.default_rng(1).uniform(-0.5, 0.4, (3, 10, 8))
    np.savez(tmp_path / "box.npz", lower=low, upper=low + 0.01)
    for bits in (8, 16):
        options = Options(target="c", domain=str(tmp_path / "box.npz"), activations=bits)
        build = compile_model(path, tmp_path / f"build{bits}", options)
        assert build.verify(["host"]).ok
        (output,) = build.certificate["outputs"].values()
        bounds.append(max(output["bound"]))
    print(bounds)
    assert bounds[1] < bounds[0]


def test_of_integers_that_fit_in_a_byte(tmp_path):
    """A function of what is always 0: its 16-bit integers are stored in bytes."""
    net = Net(1, 2, seed=0, opset=20)
    nothing = net.put("Gemm", "x", net.constant(np.zeros((2, 2))), net.constant(np.zeros(2)))
    h = net.put("Gelu", net.put("Mul", nothing, net.put("Tanh", "x")))
    model = net.save(tmp_path, net.put("Gemm", h, net.normal(2, 2)))
    build = compile_model(model, tmp_path / "B", Options(domain="-1,1", target="c", activations=16))
    assert build.verify(["host"]).ok
    assert check_certificate(build.folder / "certificate.json", build.folder)["accepted"]
