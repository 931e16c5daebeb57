# SPDX-License-Identifier: Apache-2.0
"""MatMul and Gemm of two computed tensors: as ONNX Runtime in every layout and quantised form."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nets import Net, session
from pipeline import refused, refused_by_both, same_network
from replay import Seen, distance_from_tie, integer_graph, is_exact

from tinybound.domains.exact import run
from tinybound.frontends import load_onnx

pytestmark = pytest.mark.usefixtures("quick_attack")

ROW, ROWS, MAPS = (1, 6), (1, 4, 6), (1, 2, 4, 6)
MS = {"domain": "com.microsoft"}


def turned(net, x, *perm):
    return net.put("Transpose", x, perm=perm)


def mean(net, axis):
    return net.put("ReduceMean", "x", axes=[axis], keepdims=1)


def vector(net):
    return net.put("Squeeze", mean(net, 1))


def matrix(net):
    """(6, 3) without a batch axis, from a (1, 6)."""
    return net.put("Relu", net.put("Gemm", "x", net.normal(1, 3), transA=1))


def gram(net):
    """x and its rows: (1, 4, 4)."""
    return net.put("MatMul", "x", turned(net, "x", 0, 2, 1))


def branched(net, y):
    return net.put("Concat", y, net.put("Mul", y, net.constant(0.3)), axis=1)


LAYOUTS = {
    "rows and their transposes": (ROWS, lambda n: n.put("MatMul", "x", turned(n, "x", 0, 2, 1))),
    "maps": (MAPS, lambda n: n.put("MatMul", n.put("Relu", "x"), turned(n, "x", 0, 1, 3, 2))),
    "maps and one matrix": (MAPS, lambda n: n.put("MatMul", "x", turned(n, mean(n, 1), 0, 1, 3, 2))),
    "one matrix and maps": (MAPS, lambda n: n.put("MatMul", mean(n, 1), turned(n, "x", 0, 1, 3, 2))),
    "both broadcast": ((1, 2, 3, 4, 5), lambda n: n.put(
        "MatMul", mean(n, 1), turned(n, mean(n, 2), 0, 1, 2, 4, 3))),
    "column and row": (ROWS, lambda n: n.put("MatMul", mean(n, 2), mean(n, 1))),
    "a vector on the right": (ROWS, lambda n: n.put("MatMul", "x", vector(n))),
    "a vector on the left": (ROWS, lambda n: n.put("MatMul", vector(n), turned(n, "x", 0, 2, 1))),
    "row and column of a batch": (ROW, lambda n: n.put("MatMul", "x", matrix(n))),
    "gemm, a turned": (ROW, lambda n: n.put(
        "Gemm", "x", n.put("Relu", "x"), n.normal(6), transA=1, alpha=0.3)),
    "gemm, b turned": (ROW, lambda n: n.put("Gemm", "x", n.put("Relu", "x"), transB=1)),
    "gemm plus a tensor": (ROW, lambda n: n.put(
        "Gemm", matrix(n), matrix(n), n.put("MatMul", "x", n.normal(6, 6)), transB=1, beta=0.5)),
    "a factor": (ROWS, lambda n: n.put("Mul", gram(n), n.constant(0.3))),
    "a divisor": (ROWS, lambda n: n.put(
        "Div", n.put("Reshape", gram(n), n.constant((1, 16), int)), n.constant(3))),
    "a factor that turns the sign": (ROWS, lambda n: n.put("Mul", gram(n), n.constant(-0.3))),
    "two factors": (ROWS, lambda n: n.put("Mul", n.put("Div", gram(n), n.constant(3)), n.constant(0.3))),
    "a factor for one of two readers": (ROWS, lambda n: branched(n, gram(n))),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_float_meaning_is_onnx_runtimes(layout, tmp_path):
    shape, write = LAYOUTS[layout]
    net = Net(*shape, seed=3)
    path = net.save(tmp_path, write(net))
    graph, reference = load_onnx(path).graph, session(path)

    for x in np.random.default_rng(0).normal(0, 1, (3, *shape)).astype(np.float32):
        (want,) = reference.run(None, {"x": x})
        got = run(graph, {"x": x.astype(np.float64).reshape(graph.values["x"].shape)})[graph.outputs[0]]
        assert got.shape in (want.shape, want.shape[1:])
        np.testing.assert_allclose(got.ravel(), want.ravel(), rtol=1e-5, atol=1e-5)
    assert same_network(path)


def test_turned_factors_and_factors_of_products_cost_nothing(tmp_path):
    net = Net(*ROWS)
    scores = net.put("MatMul", "x", turned(net, "x", 0, 2, 1))
    path = net.save(tmp_path, net.put("Mul", scores, net.constant(0.25)))

    nodes = load_onnx(path).graph.nodes
    assert [type(node.op).__name__ for node in nodes] == ["MatMul", "Clip"]
    assert [node.op.macs() for node in nodes] == [4 * 4 * 6, 0]


REFUSED = {
    "factors that do not fit": (ROWS, lambda n: n.put("MatMul", "x", "x"), "factors that fit"),
    "two vectors": (ROWS, lambda n: n.put("MatMul", vector(n), vector(n)), "a product of two vectors"),
    "leading axes": (MAPS, lambda n: n.put(
        "MatMul", "x", n.put("Reshape", "x", n.constant((1, 4, 6, 2), int))), "axes that broadcast"),
    "too many products": ((1, 4200, 2), lambda n: n.put("MatMul", "x", turned(n, "x", 0, 2, 1)), "products"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_refused_by_compiler_and_checker(form, tmp_path):
    refused_by_both(tmp_path, *REFUSED[form])


# -- quantised forms ---------------------------------------------------------------------------------


class Pair:
    """Two quantised inputs, x (1, 5, 24) and z (1, 24, 6) or (1, 6, 24), and an output."""

    def __init__(self, seed, dtype, two):
        self.net = Net(1, 5, 24, seed=seed, opset=21)
        self.dtype, self.two, self.info = dtype, two, np.iinfo(dtype)

    def quantiser(self, low, high):
        """Scale and zero point: at an end of the type every third time."""
        value, ends = self.net.rng.uniform(low, high), (int(self.info.min), int(self.info.max))
        scale = np.float32(2.0 ** np.round(np.log2(value)) if self.two else value)
        zero = self.net.rng.choice([*ends, self.net.rng.integers(*ends)])
        return scale, zero, self.net.constant(scale), self.net.constant(zero, self.dtype)

    def factors(self, *, turned=False):
        """(integer tensor, scale, zero point) of both."""
        shape = [1, 6, 24] if turned else [1, 24, 6]
        self.net.inputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, shape))
        steps = 256 if self.info.bits == 16 else 1
        found = []
        for name in ("x", "z"):
            scale, _, *pair = self.quantiser(0.01 / steps, 0.05 / steps)
            found.append((self.net.put("QuantizeLinear", name, *pair), *pair))
            self.unit = scale * (1 if name == "x" else self.unit)
        return found

    def real(self, *given, **more):
        return self.net.put("DequantizeLinear", *given, **more)

    def back(self, y):
        _, _, *pair = self.out
        return self.real(self.net.put("QuantizeLinear", y, *pair), *pair)

    @property
    def out(self):
        return self.quantiser(*(np.array([0.02, 0.2]) / (256 if self.info.bits == 16 else 1)))


def qdq(p):
    x, z = p.factors()
    return p.back(p.net.put("MatMul", p.real(*x), p.real(*z)))


def scores(p):
    """As attention has them: the second factor turned, a factor behind, one quantiser for both."""
    x, z = p.factors(turned=True)
    y = p.net.put("MatMul", p.real(*x), turned(p.net, p.real(*z), 0, 2, 1))
    return p.back(p.net.put("Mul", y, p.net.constant(0.5 if p.two else 0.3)))


def qlinear(p):
    x, z = p.factors()
    _, _, *pair = p.out
    return p.real(p.net.put("QLinearMatMul", *x, *z, *pair), *pair)


def integers(p):
    (x, _, zx), (z, _, zz) = p.factors()
    total = p.net.put("Cast", p.net.put("MatMulInteger", x, z, zx, zz), to=TensorProto.FLOAT)
    return p.back(p.net.put("Mul", total, p.net.constant(p.unit)))


FORMS = {"qdq": qdq, "scores": scores, "QLinearMatMul": qlinear, "MatMulInteger": integers}
KINDS = [(form, dtype) for form in FORMS for dtype in (np.int8, np.uint8)]
KINDS += [(form, dtype) for form in ("qdq", "scores") for dtype in (np.int16, np.uint16)]
QUICK = {("qdq", np.uint8), ("scores", np.int8), ("QLinearMatMul", np.uint8), ("MatMulInteger", np.uint8)}
QUICK |= {("scores", np.uint16)}


def differences(path, seed):
    """What was seen of one layer, on constant, extreme and random inputs."""
    imported, whole = integer_graph(path)
    reference, rng, seen = session(path), np.random.default_rng(seed), Seen()
    (out,) = whole.outputs
    quant = whole.values[out].quant
    for i in range(6):
        feeds, ints = {}, {}
        for name in whole.inputs:
            value = whole.values[name]
            ends = value.ends
            q = rng.integers(ends[0], ends[1] + 1, value.shape) if i > 2 else rng.choice(ends, value.shape)
            ints[name] = np.full(value.shape, ends[i]) if i < 2 else q
            real = (ints[name] - value.quant.zero) * float(value.quant.scale[0])
            feeds[name] = real.astype(np.float32)[None]
        (want,) = reference.run(None, feeds)
        want = np.rint(want / float(quant.scale[0])).astype(np.int64) + quant.zero
        values = run(whole, ints)
        want = want.reshape(values[out].shape)
        gap = np.abs(want - values[out])
        stored = next(n for n in (out, *(node.inputs[0] for node in whole.nodes[::-1]))
                      if distance_from_tie(whole, values, n) is not None)  # fmt: skip
        shape = values[out].shape
        right = is_exact(imported.graph, whole, values, stored, (gap > 0).reshape(values[stored].shape))
        seen.add(gap, distance_from_tie(whole, values, stored).reshape(shape), right.reshape(shape))
    return seen


@pytest.mark.parametrize("two", [True, False], ids=["power-of-two", "random"])
@pytest.mark.parametrize(("form", "dtype"), [
    pytest.param(*kind, marks=[] if kind in QUICK else pytest.mark.slow, id=f"{kind[0]}-{np.dtype(kind[1])}")
    for kind in KINDS
])  # fmt: skip
def test_against_onnx_runtime(form, dtype, two, tmp_path):
    """Products of 16 bits add up beyond 24 bits: ONNX Runtime's float32 is then off by itself."""
    differing = compared = 0
    for seed in range(3):
        p = Pair(seed, dtype, two)
        path = p.net.save(tmp_path, FORMS[form](p), file=f"{seed}.onnx")
        assert same_network(path)
        found = differences(path, seed)
        differing, compared = differing + found.differing, compared + found.compared
        assert (found.worst <= 1, found.inexact) == (True, 0), found
        assert found.from_tie < (1e-3 if np.iinfo(dtype).bits == 8 else 0.1), found
    print(f"{form}: {differing} of {compared} differ")
    assert differing <= compared * (0 if two and np.iinfo(dtype).bits == 8 else 0.02)


def test_a_gemm_of_integers(tmp_path):
    """QGemm of two computed matrices: one group, a bias of the file."""
    p = Pair(1, np.uint8, two=True)
    p.net.inputs[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6])
    _, _, *pair = p.quantiser(0.01, 0.05)
    q = p.net.put("QuantizeLinear", "x", *pair)
    _, _, *out = p.out
    y = p.net.put("QGemm", q, *pair, q, *pair, "", *out, transB=1, **MS)
    model = p.net.model(p.real(y, *out), infer=False)
    model.opset_import.append(helper.make_opsetid(MS["domain"], 1))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path))

    assert same_network(path)
    assert differences(path, 0).differing == 0


def test_integers_of_a_second_factor_without_a_scale_are_refused(tmp_path):
    net = Net(1, 5, 24)
    net.inputs.append(helper.make_tensor_value_info("z", TensorProto.INT8, [1, 24, 6]))
    q = net.put("QuantizeLinear", "x", net.constant(0.5), net.constant(3, np.int8))
    total = net.put("Cast", net.put("MatMulInteger", q, "z", name="odd"), to=TensorProto.FLOAT)
    path = net.save(tmp_path, net.put("Mul", total, net.constant(0.25)))

    refused(path, "odd: a second factor without a scale")
