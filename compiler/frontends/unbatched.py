# SPDX-License-Identifier: Apache-2.0
"""Tensors that have no batch axis in the file: inputs of one axis, and what a Squeeze of every axis leaves.

Here every tensor has a batch of one in front. An op that counts axes from the front would count another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from ..ops.base import Shape, Unsupported

SEES_NO_AXES = {
    *("Add", "Sub", "Mul", "Div", "PRelu", "MatMul", "MatMulInteger", "Gemm", "Softmax", "ArgMax"),
    *("Cast", "Dropout", "Max", "Min", "Neg", "Pow"),
    *("Relu", "LeakyRelu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Gelu", "Identity"),
    *("Elu", "Erf", "Softplus", "Abs"),
    *("QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearMul", "QLinearMatMul", "QLinearSigmoid"),
    *("QLinearLeakyRelu", "QGemm", "Quant", "IntQuant", "BipolarQuant", "Trunc"),
}
BROADCASTS = {"Add", "Sub", "Mul", "Div", "PRelu", "QLinearAdd", "QLinearMul", "Quant", "IntQuant"}
MOVES = {  # their expansions count the file's axes, and say themselves whether the result has a batch axis
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad", "Expand", "Tile"),
    "Gather",
}
OWN_SHAPES = {"Flatten", "Reshape", "Transpose"}  # those that expansions write have a batch axis


class Unbatched(set[str]):
    """Names of these tensors."""

    def of_inputs(self, graph: onnx.GraphProto) -> None:
        """Inputs with at most one axis."""
        self.update(e.name for e in graph.input if len(e.type.tensor_type.shape.dim) < 2)

    def check(
        self,
        proto: onnx.NodeProto,
        computed: Mapping[str, str],
        constants: Mapping[str, NDArray[Any]],
        shape_of: Callable[[str], Shape],
    ) -> None:
        """Unsupported for a node that counts other axes in the file than here; else note its outputs."""
        if proto.op_type in MOVES or proto.op_type == "Shape":
            return
        live = [i for i in proto.input if i in computed]
        bare = [i for i in live if i in self]
        joined = proto.op_type == "Concat" and bare == live
        if bare and proto.op_type not in SEES_NO_AXES and not joined:
            raise Unsupported(f"{proto.op_type} of a tensor without batch axis", "a batch axis of one")
        if bare and proto.op_type in BROADCASTS:  # a constant of one more axis gives the result a batch axis
            given = [constants[i] for i in proto.input if i in constants]
            if max((c.ndim for c in given), default=0) > max(len(shape_of(i)) for i in bare):
                return
        if bare and bare == live:
            self.update(proto.output)
