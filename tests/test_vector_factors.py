# SPDX-License-Identifier: Apache-2.0
"""Constant factors and offsets of vectors that follow no layer: one weight per element, not a matrix."""

from fractions import Fraction

import numpy as np
import pytest
from onnx_nets import Net
from pipeline import same_network
from replay import integer_graph, replay
from test_frontends import compare

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.frontends import load_onnx
from tinybound.ops import Clip, Conv, Dense
from tinybound.options import Options
from tinybound.simulate.golden import golden

pytestmark = pytest.mark.usefixtures("quick_attack")


def factor(n, x, size=6):
    return n.put("Mul", x, n.normal(size))


def offset(n, x):
    return n.put("Sub", n.normal(6), x)


def norm(n, x):
    return n.put("BatchNormalization", x, *(n.constant(n.rng.uniform(0.5, 1.5, 6)) for _ in range(4)))


def shared(n):
    """A Dense that another node reads too takes no factor in."""
    y = n.put("Gemm", "x", n.normal(6, 6))
    return n.put("Add", n.put("Relu", factor(n, y)), y)


def joined(n):
    y = norm(n, "x")
    return n.put("Concat", y, n.put("Relu", y), axis=1)


FORMS = {  # what is written, weights of its Convs, activations
    "factor": (lambda n: factor(n, "x"), 6, 1),
    "offset, factor and Relu": (lambda n: n.put("Relu", factor(n, offset(n, "x"))), 6, 1),
    "normalisation": (lambda n: norm(n, "x"), 6, 1),
    "one factor behind a Relu": (lambda n: n.put("Sigmoid", factor(n, n.put("Relu", "x"), 1)), 6, 2),
    "beside a layer": (shared, 6, 3),
    "joined": (joined, 6, 3),
    "in front of a layer": (lambda n: n.put("Gemm", norm(n, "x"), n.normal(6, 3)), 6, 2),
    "two, with a Relu between": (lambda n: norm(n, n.put("Relu", factor(n, "x"))), 12, 2),
    "behind a layer": (lambda n: norm(n, n.put("Gemm", "x", n.normal(6, 6))), 0, 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_per_element(form, tmp_path):
    write, weights, activations = FORMS[form]
    net = Net(1, 6)
    path = net.save(tmp_path, write(net))

    graph, worst = compare(path, (1, 6))

    ops = [node.op for node in graph.nodes]
    assert worst <= 1e-5
    assert same_network(path) == len(ops)
    assert sum(op.weights.size for op in ops if isinstance(op, Conv)) == weights
    assert sum(isinstance(op, Dense) for op in ops) == sum(node.op_type == "Gemm" for node in net.nodes)
    assert sum(isinstance(op, Clip) for op in ops) == activations


@pytest.mark.parametrize("form", ["offset, factor and Relu", "beside a layer"])
def test_it_is_built_certified_and_checked(form, tmp_path):
    net = Net(1, 6)
    path = net.save(tmp_path, FORMS[form][0](net))
    build = compile_model(path, tmp_path / "build", Options(domain="-1,1", target="c"))

    assert build.verify(["host"]).ok

    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


def test_a_long_vector_has_as_many_weights(tmp_path):
    net = Net(1, 5000)
    path = net.save(tmp_path, net.put("Relu", net.put("Add", "x", net.normal(5000))))
    (_, conv, *_) = load_onnx(path).graph.nodes
    assert conv.op.weights.size == 5000


def test_a_quantised_vector_is_rounded_once(tmp_path):
    """q = clip(rhe((x - zx) f Sx / Sy) + zy) from the file's numbers, but at ties."""
    net = Net(1, 256)
    factors = net.rng.uniform(-3, 3, 256)
    y = net.put("Mul", net.quantised("x", 0.037, 3, np.int8), net.constant(factors))
    _, whole = integer_graph(net.save(tmp_path, net.quantised(y, 0.041, -7, np.int8)))
    x = (np.arange(-128, 128)[:, None] + np.arange(256)) % 256 - 128

    got = golden(whole, {"x": x})[whole.outputs[0]]

    units = [Fraction(float(np.float32(v))) for v in (0.037, 0.041)]
    ratio = [Fraction(float(np.float32(f))) * units[0] / units[1] for f in factors]
    exact = np.array([[(int(q) - 3) * r for q, r in zip(row, ratio, strict=True)] for row in x])
    want = np.array([[round(v) for v in row] for row in exact])
    near = np.array(
        [[abs(abs(v - round(v)) - Fraction(1, 2)) < Fraction(1, 10**4) for v in row] for row in exact]
    )
    assert near.sum() < 60
    assert np.array_equal(got[~near], np.clip(want - 7, -128, 127)[~near])


@pytest.mark.parametrize("factor", [1.0, -0.73])
def test_an_offset_is_hardly_rounded(factor, tmp_path):
    """To a whole number of the unit, of those that a weight has 64 to 127 of, that fits best: 127 alone would
    move them by 1/508 of a step on average."""
    net = Net(1, 200)
    offsets = net.rng.uniform(-3, 3, 200)
    y = net.put("Mul", net.quantised("x", 0.037, 3, np.int8), net.constant(factor))
    y = net.put("Add", y, net.constant(offsets))
    _, whole = integer_graph(net.save(tmp_path, net.quantised(y, 0.041, -7, np.int8)))
    (conv,) = (node for node in whole.nodes if isinstance(node.op, Conv))
    units = np.array([float(scale) for scale in whole.values[conv.output].quant.scale])

    off = np.abs(conv.op.bias * units - np.float32(offsets)) / 0.037

    print(f"steps: {off.mean():.2g} on average, {off.max():.2g} at most")
    assert off.max() < 1 / 254
    assert off.mean() < 1 / 4000


CONSTANTS = {
    "offset": lambda n, x, shape: n.put("Add", x, n.weights(n.rng.integers(-127, 128, shape), 2.0**-6)),
    "power": lambda n, x, shape: n.put("Mul", x, n.constant(np.exp2(n.rng.integers(-3, 2, shape)))),
    "factor": lambda n, x, shape: n.put("Mul", x, n.weights(n.rng.integers(-127, 128, shape), 2.0**-6)),
}


@pytest.mark.parametrize("scales", [(2.0**-5, 2.0**-4), (2.0**-5, 2.0**-5), (2.0**-4, 2.0**-6)])
@pytest.mark.parametrize("shape", [(16,), (4, 3, 3)])
@pytest.mark.parametrize("kind", CONSTANTS)
def test_at_powers_of_two_no_element_differs_from_onnx_runtime(kind, shape, scales, tmp_path):
    """Ties are common there, and stay ties: a weight of 127 would hide them."""
    net = Net(1, *shape, seed=len(kind))
    per_channel = (shape[0], *(1,) * (len(shape) - 1))
    y = CONSTANTS[kind](net, net.quantised("x", scales[0], 3, np.int8), per_channel)
    path = net.save(tmp_path, net.quantised(y, scales[1], -7, np.int8))
    x = net.rng.integers(-131, 125, (20, *shape)) * scales[0]

    seen, _ = replay(path, x.astype(np.float32), optimise=False)

    assert sum(found.compared for found in seen.values()) == 2 * x.size
    assert sum(found.differing for found in seen.values()) == 0
