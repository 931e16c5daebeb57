# SPDX-License-Identifier: Apache-2.0
"""QONNX activations of two levels, -scale and scale: the sign is part of the float network too. What a layer
sums up keeps its sign exactly, so networks of one bit lose nothing on their way to integers."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx_nets import session
from pipeline import same_network
from replay import integer_graph
from test_qonnx import MAP, Quants, conv, relu
from test_quantised_forms import differences

from tinybound.build import compile as compile_model
from tinybound.certify.export import merged_model
from tinybound.checker import check_certificate
from tinybound.domains import pair_table
from tinybound.domains.exact import run
from tinybound.errors import PromiseError
from tinybound.ops import Table
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.quantise import lower

pytestmark = pytest.mark.usefixtures("quick_attack")


def sign(t, x, scale=1.0):
    return t.put("BipolarQuant", x, t.net.constant(scale))


def normed(t, x, channels):
    net = t.net
    factor, offset, mean = (net.constant(net.rng.normal(0, 1, channels)) for _ in range(3))
    variance = net.constant(net.rng.uniform(0.2, 3, channels))
    return net.put("BatchNormalization", x, factor, offset, mean, variance)


def pooled(t, x, op):
    return t.net.put(op, x, kernel_shape=[2, 2], strides=[2, 2])


def bipolar_conv(t, x, **more):
    return t.net.put("Conv", x, sign(t, t.net.normal(4, 4, 3, 3), 0.25), **more)


FORMS = {
    "behind a conv": lambda t, x: sign(t, conv(t, x)),
    "of an input": lambda t, x: t.quant(conv(t, sign(t, x, 0.375)), 0.5, 8),
    "with the zero padding of a conv": lambda t, x: t.quant(
        bipolar_conv(t, sign(t, bipolar_conv(t, x)), pads=[1] * 4), 0.5, 8),
    "behind relu": lambda t, x: sign(t, t.net.put("Relu", conv(t, x)), 2.0),
    "behind a hard tanh": lambda t, x: sign(
        t, t.net.put("Clip", conv(t, x), t.net.constant(-1.0), t.net.constant(1.0))),
    "behind a max pool": lambda t, x: sign(t, pooled(t, conv(t, x), "MaxPool")),
    "in front of a max pool": lambda t, x: pooled(t, sign(t, conv(t, x)), "MaxPool"),
    "behind an average": lambda t, x: sign(t, pooled(t, x, "AveragePool")),
    "behind a sum": lambda t, x: sign(t, t.net.put("Add", relu(t, conv(t, x)), x), 0.5),
    "behind a difference": lambda t, x: sign(t, t.net.put("Sub", relu(t, conv(t, x)), x), 0.5),
    "behind a product": lambda t, x: sign(t, t.net.put("Mul", relu(t, conv(t, x)), x), 0.5),
    "of a flat tensor": lambda t, x: sign(t, t.net.put("Flatten", conv(t, x))),
    "Quant of one bit": lambda t, x: t.quant(conv(t, x), 0.25, 1),
    "Quant of one bit, narrow": lambda t, x: t.quant(conv(t, x), 0.25, 1, narrow=1),
    "read by a quantiser too": lambda t, x: both(t, conv(t, x)),
    "of what is quantised": lambda t, x: sign(t, t.quant(conv(t, x), 0.5, 3)),
}  # fmt: skip


def both(t, y):
    """One tensor for a sign and for a quantiser: neither gets what the other has rounded."""
    return t.quant(t.net.put("Add", sign(t, y, 0.5), t.quant(y, 2.0, 4)), 0.5, 8)


@pytest.mark.parametrize("form", FORMS)
def test_no_sign_differs(form, tmp_path):
    t = Quants(MAP)
    y = FORMS[form](t, t.quant("x", 1 / 16, 8))
    t.shape = (1, 144) if "flat" in form else MAP
    path = t.save(tmp_path, y)

    differing, compared, _, graph = differences(path, MAP, count=8, reference=t.reference(path))

    assert differing == 0
    assert compared >= 288
    assert sum(isinstance(node.op, Table) for node in graph.nodes) >= 1
    assert same_network(path) > 1


def exact(inputs, weights, offset):
    """Signs of sums in fractions."""
    sums = inputs @ weights
    return np.array([[1 if Fraction(int(n)) + b >= 0 else -1 for n, b in zip(row, offset, strict=True)]
                     for row in sums])  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_offsets_between_two_sums(seed, tmp_path, monkeypatch):
    """Sums of signs are whole numbers; offsets at, and a hair beside, each of them and each half."""
    rng, t = np.random.default_rng(seed), Quants((1, 4))
    offset = np.array([n / 2 + e for n in range(-9, 10) for e in (-(2.0**-20), 0.0, 2.0**-20)], np.float32)
    weights = rng.choice([-1.0, 1.0], (4, offset.size)).astype(np.float32)
    x = sign(t, t.quant("x", 1.0, 8))
    y = t.net.put("Gemm", x, sign(t, t.net.constant(weights)), t.net.constant(offset))
    path = t.save(tmp_path, sign(t, y))
    rows = np.array([[-1 if i >> k & 1 else 1 for k in range(4)] for i in range(16)])
    want = exact(rows, weights, [Fraction(float(b)) for b in offset])

    def found():
        _, graph = integer_graph(path)
        (name,) = graph.outputs
        q = [run(graph, {"x": np.where(row > 0, 0, -1)}) for row in rows]  # 0 counts as positive
        return np.array([values[name] - graph.values[name].quant.zero for values in q])

    np.testing.assert_array_equal(found(), want)
    monkeypatch.setattr(lower, "floor", round)  # a planted bug: halves of a unit change sides
    assert (found() != want).any()


def network(t, sizes, x):
    """As the zoo's TFC-w1a1: signs of the input, then layers of signs with normalisation between."""
    x = sign(t, t.net.put("Sub", t.net.put("Mul", x, t.net.constant(2.0)), t.net.constant(1.0)))
    for i, (n, m) in enumerate(pairwise(sizes)):
        x = t.net.put("MatMul", x, sign(t, t.net.normal(n, m)))
        x = normed(t, x, m)
        x = sign(t, x) if i < len(sizes) - 2 else x
    return x


@pytest.mark.parametrize("scale", [1.0, 0.375])
def test_the_merged_network_has_the_jump(scale, tmp_path):
    """ONNX Runtime runs float - integer: at 0, at its neighbours and between two integers."""
    t = Quants((1, 6))
    path = t.save(tmp_path, sign(t, t.quant("x", 1 / 16, 8), scale))
    nets = build_networks(path, Options())
    (name,) = nets.integer_graph.outputs
    data = merged_model(nets.float_graph, nets.integer_graph, {name: name})
    x = np.array(
        [[0.0, -0.0, -1e-30, 1e-30, -0.04, 3.0], [-0.031, -0.032, 0.04, -8.0, 9.0, -1.0]], np.float32
    )

    found = [session(onnx.load_model_from_string(data)).run(None, {"x": row[None]})[0][0] for row in x]

    stored = np.rint(x * 16)
    want = np.where(x >= 0, scale, -scale) - np.where(stored >= 0, scale, -scale)
    np.testing.assert_array_equal(found, want)
    assert (want != 0).sum() == 2


@pytest.mark.parametrize(
    "sizes", [(16, 24, 24, 5), pytest.param((784, 64, 64, 64, 10), marks=pytest.mark.slow)], ids=str
)
def test_a_network_of_one_bit(sizes, tmp_path):
    t = Quants((1, sizes[0]))
    t.net.opset = 15  # before, the reference evaluator normalises by the batch
    path = t.save(tmp_path, network(t, sizes, "x"))
    build = compile_model(path, tmp_path / "build", Options(domain="0,1", target="c"))
    x = np.random.default_rng(1).integers(0, 256, (60, sizes[0])) / 255

    (name,), scale = build.graph.outputs, None
    shown = build.simulate({"x": x})[name]
    scale = float(build.graph.values[name].quant.scale[0])
    reference = t.reference(path)
    want = np.array([reference.run(None, {"x": row[None].astype(np.float32)})[0][0] for row in x])

    # no sign inside differs: only the output is rounded, and its offset to 1/64 of a weight
    weight = np.abs(build.float_graph.nodes[-2].op.weights).max()
    assert np.abs(shown - want).max() <= 0.501 * scale + weight / 128
    assert build.verify(["host"]).ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


def certified(t, path, tmp_path, low, high):
    np.savez(tmp_path / "box.npz", lower=np.full(t.shape[1:], low), upper=np.full(t.shape[1:], high))
    options = Options(domain=str(tmp_path / "box.npz"), target="c")
    build = compile_model(path, tmp_path / f"build{low}", options)
    found = check_certificate(tmp_path / f"build{low}" / "certificate.json", tmp_path / f"build{low}")
    assert found["accepted"], found["reason"]
    return build, max(np.max(bound) for bound in found["bound"].values())


def test_the_bound_of_a_jump(tmp_path):
    """Nothing where no sign can change, 2 * scale where one may."""
    t = Quants((1, 3))
    path = t.save(tmp_path, sign(t, t.quant("x", 1 / 16, 8), 0.375))
    assert certified(t, path, tmp_path, 0.25, 1.0)[1] < 1e-9
    assert certified(t, path, tmp_path, -1.0, -0.25)[1] < 1e-9
    _, bound = certified(t, path, tmp_path, -0.03, 1.0)  # -0.03 is stored as 0
    assert 0.75 <= bound < 0.75 + 1e-9


def test_a_rule_without_the_jump_is_noticed(tmp_path, monkeypatch):
    """A prover that takes slopes of 0 for the whole truth: a larger difference is found."""
    t = Quants((1, 3))
    path = t.save(tmp_path, sign(t, t.quant("x", 1 / 16, 8), 0.375))
    monkeypatch.setattr(pair_table.Pointwise, "noise", lambda self, box: (0 * box.lx, 0 * box.lx))
    monkeypatch.setattr(pair_table.Pointwise, "box", smooth)
    with pytest.raises(PromiseError, match=r"a difference of 0\.75"):
        certified(t, path, tmp_path, -0.03, 1.0)


def smooth(self, box):
    none = 0 * box.lx
    out = pair_table.between(*self.reach(box), self.out)
    return pair_table.Box(*self.rest(box, none), *out, none, none)
