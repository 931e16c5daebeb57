# SPDX-License-Identifier: Apache-2.0
"""Which tensors of the reference have a batch axis: without one, axes are other ones than the checker's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .files import need

_BY_ELEMENT = {
    *("Add", "Sub", "Mul", "Div", "PRelu", "Relu", "LeakyRelu", "Clip", "Gelu", "Sigmoid", "Tanh"),
    *("Elu", "Erf", "Softplus", "Abs"),
    *("Max", "Min", "Neg", "Pow"),
    *("HardSigmoid", "HardSwish", "Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear"),
    *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"),
    *("Quant", "IntQuant", "BipolarQuant", "Trunc"),
}
_LAST_AXIS = ("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "QGemm", "Softmax", "ArgMax")
_STRETCHES = {"Add", "Sub", "Mul", "Div", "PRelu", "QLinearAdd", "QLinearMul", "Quant", "IntQuant"}
MOVES = {  # their expansions count the axes of the file
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad", "Expand", "Tile"),
    "Gather",
}


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
        touched = self.without & set(live)
        if not touched or op in MOVES or op == "Shape":
            return
        joins = op == "Concat" and touched == set(live)
        need(
            joins or op in _BY_ELEMENT or op in _LAST_AXIS,
            f"{proto.name or op}: {op} of a tensor without batch axis",
        )
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
        most = max((np.ndim(c) for c in held if proto.op_type in _STRETCHES), default=0)
        return most > max(len(shape(i)) for i in touched)
