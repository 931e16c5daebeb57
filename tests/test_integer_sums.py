# SPDX-License-Identifier: Apache-2.0
"""ConvInteger and MatMulInteger with static scales, against ONNX Runtime; what else may read their sums."""

import numpy as np
import pytest
from onnx import TensorProto
from onnx_nets import Net
from pipeline import refused, same_network
from test_quantised_forms import differences

from tinybound.frontends import load_onnx

MAP, VECTOR = (1, 4, 6, 6), (1, 24)


class Sums(Net):
    def quantise(self, dtype, scale=0.0625):
        """x quantised: (integers, scale, zero point)."""
        pair = self.constant(scale), self.constant(np.iinfo(dtype).min + 120, dtype)
        return (self.put("QuantizeLinear", "x", *pair), *pair)

    def sum(self, kind, dtype, shape, zero=None, scale=0.0625, **attributes):
        """The int32 sums, of 7-bit weights: ONNX Runtime saturates pairs of uint8 x int8 without VNNI."""
        x, _, z = self.quantise(dtype, scale)
        w = self.constant(self.rng.integers(-64, 64, shape) + (zero or 0), np.int8 if not zero else np.uint8)
        more = [self.constant(zero, np.uint8)] if zero else []
        return self.put(kind, x, w, z, *more, name="sum", **attributes)

    def real(self, acc, c):
        return self.put("Mul", self.put("Cast", acc, to=TensorProto.FLOAT), self.constant(c))

    def back(self, y):
        return self.quantised(y, 0.5, 3, np.int8)


def conv(net, c=2.0**-10, scale=0.0625, **more):
    return net.back(net.real(net.sum("ConvInteger", np.uint8, (5, 4, 3, 3), 128, scale, **more), c))


def own_zeros(net):
    """A zero point for each column of weights."""
    x, _, z = net.quantise(np.uint8)
    zeros = np.arange(125, 132)
    w = net.constant(net.rng.integers(-64, 64, (24, 7)) + zeros, np.uint8)
    return net.real(net.put("MatMulInteger", x, w, z, net.constant(zeros, np.uint8), name="sum"), 2.0**-9)


def matmul(net, dtype, c, zero=None, scale=0.0625):
    return net.real(net.sum("MatMulInteger", dtype, (24, 7), zero, scale), c)


FORMS = {
    "conv": (MAP, lambda n: conv(n, pads=[1, 1, 1, 1])),
    "conv, scales per channel": (MAP, lambda n: conv(n, 2.0 ** n.rng.integers(-12, -8, (1, 5, 1, 1)))),
    "conv, strides": (MAP, lambda n: conv(n, strides=[2, 1])),
    "matmul of uint8": (VECTOR, lambda n: n.back(matmul(n, np.uint8, 2.0**-9))),
    "matmul of int8": (VECTOR, lambda n: n.back(matmul(n, np.int8, 2.0**-9))),
    "matmul, uint8 weights": (VECTOR, lambda n: n.back(matmul(n, np.uint8, 2.0**-9, 128))),
    "matmul, zero points per column": (VECTOR, lambda n: n.back(own_zeros(n))),
    "matmul, scales per column": (VECTOR, lambda n: n.back(
        matmul(n, np.uint8, 2.0 ** n.rng.integers(-12, -8, 7)))),
    "matmul and relu": (VECTOR, lambda n: n.back(n.put("Relu", matmul(n, np.int8, 2.0**-9)))),
    "matmul and a bias": (VECTOR, lambda n: n.back(n.put("Add", matmul(n, np.int8, 2.0**-9), n.constant(
        n.rng.integers(-900, 900, 7) * 2.0**-9)))),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_no_integer_differs_at_scales_of_powers_of_two(form, tmp_path):
    shape, write = FORMS[form]
    net = Sums(*shape)
    path = net.save(tmp_path, write(net))

    differing, compared, _, _ = differences(path, shape)

    assert (differing, compared >= 140) == (0, True)
    assert same_network(path) == 2
    (weights,) = load_onnx(path).weights.values()
    assert np.abs(weights.integers).max() > 60  # the file's own


@pytest.mark.parametrize("seed", range(4))
def test_random_scales(seed, tmp_path):
    """c is the float32 product of two scales: not exactly s times anything."""
    net = Sums(*MAP, seed=seed)
    scale, unit = (np.float32(net.rng.uniform(0.01, 0.1)) for _ in range(2))
    path = net.save(tmp_path, conv(net, scale * unit * np.float32(0.1), scale))
    differing, compared, worst, _ = differences(path, MAP)
    print(f"{differing} of {compared}")
    assert (compared, worst <= 1.01) == (1600, True)
    assert differing <= 2e-3 * compared
    assert same_network(path) == 2


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda n: n.put("Relu", n.sum("MatMulInteger", np.int8, (24, 7)), name="odd"),
         r"odd: Relu of the sums of a ConvInteger or MatMulInteger \(try a Cast and a Mul"),
        (lambda n: n.sum("MatMulInteger", np.int8, (24, 7)), "sums of integers as an output"),
        (lambda n: n.put("Cast", n.sum("MatMulInteger", np.int8, (24, 7)), to=TensorProto.FLOAT),
         "sums of integers as an output"),
        (lambda n: n.put("Cast", n.sum("MatMulInteger", np.int8, (24, 7)), to=TensorProto.INT64, name="odd"),
         "odd: Cast of the sums"),
    ],
)  # fmt: skip
def test_what_is_refused(write, message, tmp_path):
    net = Sums(*VECTOR, opset=14)
    refused(net.save(tmp_path, write(net)), message)


def test_integers_without_a_scale(tmp_path):
    net = Sums(*VECTOR, kind=TensorProto.INT8)
    w = net.constant(net.rng.integers(-9, 9, (24, 7)), np.int8)
    y = net.real(net.put("MatMulInteger", "x", w, name="odd"), 0.5)
    refused(net.save(tmp_path, y), "odd: MatMulInteger of integers without a scale")
