# SPDX-License-Identifier: Apache-2.0
"""MatMul and Gemm in every layout that has one constant factor: as ONNX Runtime, and as the checker reads."""

from fractions import Fraction

import numpy as np
import pytest
from onnx_nets import Net, session
from pipeline import refused, refused_by_both, same_network

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.options import Options

pytestmark = pytest.mark.usefixtures("quick_attack")

ROW, ROWS, MAPS, ONE = (1, 6), (1, 4, 6), (1, 2, 4, 6), (1, 1)


def left(*size):
    """A constant times x."""
    return lambda n: n.put("MatMul", n.normal(*size), "x")


def right(*size):
    return lambda n: n.put("MatMul", "x", n.normal(*size))


def gemm(*order, bias=(), **attributes):
    """A Gemm whose factors are "x" or the size of a constant; a bias of a size, or tensors."""

    def write(n):
        inputs = [i if isinstance(i, str) else n.normal(*i) for i in order]
        return n.put("Gemm", *inputs, *([n.normal(*bias)] if bias else []), **attributes)

    return write


def matrix(n):
    """(6, 3) without a batch axis, from a (1, 6)."""
    return n.put("Relu", n.put("Gemm", "x", n.normal(1, 3), transA=1))


LAYOUTS = {
    "matrix on the left of a vector": ((6,), left(3, 6)),
    "matrices on the left of a vector": ((6,), left(2, 3, 6)),
    "matrices on the right of a vector": ((6,), right(2, 6, 3)),
    "matrix on the left of a row": (ROW, left(5, 1)),
    "vector on the left of a row": (ROW, left(1)),
    "matrix on the left of rows": (ROWS, left(3, 4)),
    "matrix on the left of maps": (MAPS, left(3, 4)),
    "vector on the left of maps": (MAPS, left(4)),
    "a matrix per map on the left": (MAPS, left(2, 3, 4)),
    "a matrix per map": (MAPS, right(2, 6, 3)),
    "a matrix per map, a batch of one": (MAPS, right(1, 2, 6, 3)),
    "rows broadcast over matrices": ((1, 1, 4, 6), right(3, 6, 5)),
    "matrices broadcast over maps": ((1, 3, 2, 4, 6), right(2, 6, 3)),
    "maps of one and matrices": ((1, 3, 1, 4, 6), right(2, 6, 3)),
    "one matrix under ones": (ROWS, right(1, 1, 6, 3)),
    "one matrix under ones for a row": (ROW, right(1, 6, 3)),
    "vector on the right of a row": (ROW, right(6)),
    "vector on the right of maps": (MAPS, right(6)),
    "gemm of a turned row": (ROW, gemm("x", (1, 3), bias=(3,), transA=1, alpha=0.5, beta=-2.0)),
    "gemm of a turned row, a bias per row": (ROW, gemm("x", (1, 3), bias=(6, 1), transA=1)),
    "gemm of a turned row and column": (ROW, gemm("x", (3, 1), bias=(6, 3), transA=1, transB=1)),
    "gemm of one turned number": (ONE, gemm("x", (1, 3), bias=(3,), transA=1, beta=0.25)),
    "gemm of one turned number plus a tensor": (ONE, lambda n: n.put("Gemm", "x", n.normal(1, 1),
                                                                     n.put("Relu", "x"), transA=1)),
    "gemm of one turned number plus its row": (ONE, lambda n: n.put(
        "Gemm", "x", n.normal(1, 3), n.put("MatMul", "x", n.normal(1, 3)), transA=1, alpha=0.5, beta=0.25)),
    "gemm of a constant and a turned number": (ONE, gemm((5, 1), "x", bias=(5, 1), transB=1)),
    "gemm of a turned matrix of one number": (ROW, lambda n: n.put(
        "Gemm", n.put("MatMul", n.normal(1, 6), n.put("Gemm", "x", n.normal(1, 1), transA=1)),
        n.normal(3, 1), n.put("Relu", n.put("MatMul", "x", n.normal(6, 3))), transA=1, transB=1)),
    "gemm of a constant and a row": (ROW, gemm((5, 1), "x", bias=(6,), alpha=0.3)),
    "gemm of a constant and a column": (ROW, gemm((5, 6), "x", bias=(5, 1), transB=1)),
    "gemm of a turned constant and a column": (ROW, gemm((6, 5), "x", transA=1, transB=1)),
    "gemm of a matrix": (ROW, lambda n: n.put("Gemm", matrix(n), n.normal(3, 2), n.normal(2))),
    "gemm of a turned matrix": (ROW, lambda n: n.put("Gemm", matrix(n), n.normal(4, 6), n.normal(3, 1),
                                                     transA=1, transB=1)),
    "a constant times a turned matrix": (ROW, lambda n: n.put("Gemm", n.normal(4, 3), matrix(n), transB=1)),
    "a matrix on the left of a matrix": (ROW, lambda n: n.put("MatMul", n.normal(4, 6), matrix(n))),
    "a vector on the right of a matrix": (ROW, lambda n: n.put("MatMul", matrix(n), n.normal(3))),
    "gemm plus a tensor": (ROW, lambda n: n.put("Gemm", "x", n.normal(6, 6), n.put("Relu", "x"), beta=0.5)),
    "gemm of a matrix plus a tensor": (ROW, lambda n: n.put("Gemm", matrix(n), n.normal(3, 6),
                                                            n.put("Relu", "x"))),
}  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    def write(layout):
        shape, put = LAYOUTS[layout]
        net = Net(*shape, seed=3)
        return net.save(tmp_path, put(net)), shape

    return write


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_float_meaning_is_onnx_runtimes(layout, saved):
    path, shape = saved(layout)
    graph, reference = load_onnx(path).graph, session(path)

    for x in np.random.default_rng(0).normal(0, 1, (4, *shape)).astype(np.float32):
        (want,) = reference.run(None, {"x": x})
        got = run(graph, {"x": x.astype(np.float64).reshape(graph.values["x"].shape)})[graph.outputs[0]]
        assert got.shape in (want.shape, want.shape[1:])
        np.testing.assert_allclose(got.ravel(), want.ravel(), rtol=1e-5, atol=1e-5)
    assert same_network(path)


@pytest.mark.parametrize("layout", [k for i, k in enumerate(LAYOUTS) if i % 7 == 0])
def test_c_and_the_certificate(layout, saved, tmp_path):
    build = compile_model(saved(layout)[0], tmp_path / "build", Options(domain="-1,1", target="c"))

    assert build.verify(["host"]).ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


@pytest.mark.parametrize("layout", ["left", "grouped", "expanded"])
def test_the_integers_of_the_file_stay(layout, tmp_path):
    shape = {"left": ROWS, "grouped": MAPS, "expanded": (1, 3, 2, 4, 6)}[layout]
    net = Net(*shape, opset=13)
    x = net.quantised("x", 0.02, 3, np.int8)
    scale, integers = np.float32(0.013), net.rng.integers(-90, 90, (3, 4) if layout == "left" else (2, 6, 3))
    w = net.weights(integers, scale)
    y = net.put("MatMul", *((w, x) if layout == "left" else (x, w)))
    path = net.save(tmp_path, net.quantised(y, 0.05, -4, np.int8))

    (weights,) = load_onnx(path).weights.values()

    assert sorted({*weights.integers.ravel().tolist()}) == sorted({*integers.ravel().tolist()})
    assert set(weights.scales) == {Fraction(float(scale))}
    assert compile_model(path, tmp_path / "build", Options(target="c")).verify(["host"]).ok


REFUSED = {
    "a batch that a turned Gemm sums over": (("batch", 6), gemm("x", (4, 3), transA=1), "factors that fit"),
    "a matrix per sample": (ROWS, right(3, 6, 2), "a batch of one as the first axis"),
    "two vectors": ((6,), right(6), "a product of two vectors"),
    "two constants": (ROW, lambda n: n.put("Gemm", n.normal(1, 3), n.normal(3, 6), "x"), "two constants"),
    "factors that do not fit": (ROWS, right(2, 4, 3), "factors that fit"),
    "no columns": (ROWS, right(6, 0), "factors that fit"),
    "a Gemm of rows": (ROWS, gemm("x", (6, 3)), "two axes"),
    "a Gemm of turned rows": (ROWS, gemm("x", (6, 3), transA=1), "two axes"),
    "a Gemm of two tensors that do not fit": (ROW, gemm("x", "x"), "factors that fit"),
    "a Gemm that does not fit": (ROW, gemm("x", (3, 5), transB=1), r"\(1, 6\) and \(5, 3\)"),
    "a bias of another size": (ROW, gemm("x", (6, 3), bias=(4,)), r"plus a constant \(4,\)"),
    "integers": (ROW, lambda n: n.put("Gemm", "x", n.constant(np.ones((6, 3)), np.int32)), "int32 param"),
}  # fmt: skip


def test_an_infinite_factor_is_refused(tmp_path):
    net = Net(*ROW)
    path = net.save(tmp_path, gemm("x", (6, 3), alpha=float("inf"))(net), infer=False)

    refused(path, "finite factors")


@pytest.mark.parametrize("form", REFUSED)
def test_refused_by_compiler_and_checker(form, tmp_path):
    refused_by_both(tmp_path, *REFUSED[form])
