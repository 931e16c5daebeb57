# SPDX-License-Identifier: Apache-2.0
"""Which files have an evaluation in float32 that certify/ knows the errors of: node by node, each of them a
sum of products, a mean, a function, or something that rounds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from ..errors import CompileError
from .model_file import read_model

WHERE = "--arithmetic float32"
SUMS = {"Add", "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Mul"}
SUMS |= {"GlobalAveragePool", "PRelu", "ReduceMean", "ReduceSum", "Sub"}
FUNCTIONS = {"Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Sigmoid", "Softmax", "Tanh"}
EXACT = {"ArgMax", "Clip", "Concat", "Constant", "ConstantOfShape", "Dropout", "Expand", "Flatten", "Gather"}
EXACT |= {"GlobalMaxPool", "Identity", "Max", "MaxPool", "Min", "Neg", "Pad", "Relu", "Reshape", "Shape"}
EXACT |= {"Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
KNOWN = SUMS | FUNCTIONS | EXACT
OTHER_FLOATS = {onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
BETA = 8.0  # of a HardSigmoid: what its sum may cancel


def refuse_other(path: Path) -> None:
    """CompileError unless the file is a float32 network of such nodes."""
    graph = read_model(path).graph
    tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
    types = {*(t.data_type for t in tensors), *(e.type.tensor_type.elem_type for e in graph.input)}
    if types & OTHER_FLOATS:
        names = sorted(onnx.TensorProto.DataType.Name(kind) for kind in types & OTHER_FLOATS)
        raise CompileError(WHERE, f"tensors of type {names[0]} in the float network", "float32 only")
    for node, found in _odd(graph):
        known = f"float32 nodes of the types {', '.join(sorted(KNOWN))}"
        raise CompileError(WHERE, f"{node.name or node.op_type}: {found}", known)


def _odd(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    types, known = {node.op_type for node in graph.node}, {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if {*node.input} - {""} <= known or node.op_type == "Shape":
            known |= {*node.output}
            if node.op_type in SUMS:
                yield node, f"{node.op_type} of constants, which float32 would round"
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.domain not in ("", "ai.onnx") or node.op_type not in KNOWN:
            yield node, f"{node.op_type}, whose rounding is not modelled"
        if node.op_type == "Gemm" and (given.get("alpha", 1.0), given.get("beta", 1.0)) != (1.0, 1.0):
            yield node, "a Gemm with factors alpha or beta"
        if node.op_type == "HardSigmoid" and not abs(given.get("beta", 0.5)) <= BETA:
            yield node, f"a HardSigmoid with beta = {given['beta']}"
        if node.op_type == "ArgMax" and "Softmax" in types:
            yield node, "an ArgMax of what a Softmax has rounded"
