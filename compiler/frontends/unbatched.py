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
    *("Cast", "Dropout", "Max", "Min"),
    *("Relu", "LeakyRelu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Gelu", "Identity"),
    *("QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearMul", "QLinearMatMul", "QLinearSigmoid"),
    *("QLinearLeakyRelu", "QGemm", "Expand", "Quant", "IntQuant", "BipolarQuant", "Trunc"),
}
BROADCASTS = {"Add", "Sub", "Mul", "Div", "PRelu", "QLinearAdd", "QLinearMul", "Quant", "IntQuant", "Expand"}
COUNTS_FROM_BEHIND = {"Concat", "Gather", "Split"}  # when their axis is negative


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
        live = [i for i in proto.input if i in computed]
        bare = [i for i in live if i in self]
        axis = next((a.i for a in proto.attribute if a.name == "axis"), 0)
        shape = constants.get(proto.input[1]) if proto.op_type == "Reshape" and live else None
        if shape is not None and (shape != 0).all():
            return  # a shape that says everything, the batch axis included
        free = proto.op_type in SEES_NO_AXES or (proto.op_type in COUNTS_FROM_BEHIND and axis < 0)
        if bare and not free:
            raise Unsupported(f"{proto.op_type} of a tensor without batch axis", "a batch axis of one")
        axes = any(a.name == "axes" for a in proto.attribute) or any(proto.input[1:])
        if bare and proto.op_type in BROADCASTS:  # a constant of one more axis gives the result a batch axis
            given = [constants[i] for i in proto.input if i in constants]
            ranks = [c.size if proto.op_type == "Expand" else c.ndim for c in given]
            if max(ranks, default=0) > max(len(shape_of(i)) for i in bare):
                return
        if (bare and bare == live) or (live and proto.op_type == "Squeeze" and not axes):
            self.update(proto.output)
