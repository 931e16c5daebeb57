# SPDX-License-Identifier: Apache-2.0
"""Which tensors of the reference have a batch axis: without one, axes are other ones than the checker's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .files import need

_BY_ELEMENT = {
    *("Add", "Sub", "Mul", "Div", "PRelu", "Expand", "Relu", "LeakyRelu", "Clip", "Gelu", "Sigmoid", "Tanh"),
    *("Max", "Min"),
    *("HardSigmoid", "HardSwish", "Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear"),
    *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"),
    *("Quant", "IntQuant", "BipolarQuant", "Trunc"),
}
_LAST_AXIS = ("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "QGemm", "Softmax", "ArgMax")
_STRETCHES = {"Add", "Sub", "Mul", "Div", "PRelu", "QLinearAdd", "QLinearMul", "Quant", "IntQuant"}
_GIVEN_AXIS = ("Concat", "Gather", "Split")


class Batches:
    """`without`: the tensors that have no batch axis; `indices`: those that an ArgMax returns."""

    def __init__(self, inputs: Any) -> None:
        self.indices: set[str] = set()
        self.without = {e.name for e in inputs if len(e.type.tensor_type.shape.dim) <= 1}

    def take(
        self,
        proto: Any,
        live: list[str],
        constants: Mapping[str, np.ndarray],
        shape: Callable[[str], tuple[int, ...]],
    ) -> None:
        """Rejects a node whose axes are not those that the checker counts."""
        op = proto.op_type
        axes = any(proto.input[1:]) or any(a.name == "axes" for a in proto.attribute)
        if op == "Squeeze" and live and not axes:
            self.without.update(proto.output)
        touched = self.without & set(live)
        if not touched:
            return
        if op == "Reshape" and np.all(constants.get(proto.input[1], np.zeros(1)) != 0):
            return
        behind = any(a.name == "axis" and a.i < 0 for a in proto.attribute)
        fine = op in _BY_ELEMENT or op in _LAST_AXIS or (op in _GIVEN_AXIS and behind)
        need(fine, f"{proto.name or op}: {op} of a tensor without batch axis")
        if touched == set(live) and not self._gains(proto, touched, constants, shape):
            self.without.update(proto.output)

    def _gains(
        self,
        proto: Any,
        touched: set[str],
        constants: Mapping[str, np.ndarray],
        shape: Callable[[str], tuple[int, ...]],
    ) -> bool:
        """Whether a constant with more axes gives the result a first axis, which is its batch."""
        held = [constants[i] for i in proto.input if i in constants]
        if proto.op_type == "Expand":
            most = max((np.size(c) for c in held), default=0)
        else:
            most = max((np.ndim(c) for c in held if proto.op_type in _STRETCHES), default=0)
        return most > max(len(shape(i)) for i in touched)
