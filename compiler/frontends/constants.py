# SPDX-License-Identifier: Apache-2.0
"""Nodes that depend on constants only, and Shape: computed at import by onnx's reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from ..ops.base import MAX_ELEMENTS, Unsupported

MOVES = (  # exact on any type; what Cast and QuantizeLinear round is rounded by definition
    *(
        "Cast",
        "QuantizeLinear",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Neg",
        "Pad",
    ),
    *("Reshape", "Shape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)

OF_INTEGERS = ("Reshape", "tinybound.Take")  # ops whose constants are shapes and positions
SHORT = 64  # elements of a constant that may be a shape


def fold(
    proto: onnx.NodeProto,
    constants: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[int, ...]],
    opset: int,
) -> dict[str, NDArray[Any]]:
    """The node's outputs as constants. `shapes` holds the full shape (batch 1) of computed tensors."""
    if proto.op_type == "Shape" and proto.input[0] in shapes:
        return {proto.output[0]: np.array(shapes[proto.input[0]], np.int64)}
    feeds = {name: constants[name] for name in proto.input if name}
    if _is_root(proto, feeds):
        return {proto.output[0]: np.sqrt(feeds[proto.input[0]].astype(np.float64))}  # the nearest double
    if proto.op_type not in MOVES and any(array.dtype.kind == "f" for array in feeds.values()):
        # It would be computed in the file's float32, and the certificate speaks of real arithmetic.
        raise Unsupported(f"{proto.op_type} of real constants", "the result as one constant")
    random = proto.op_type.startswith("Random") or proto.op_type in ("Bernoulli", "Multinomial")
    if random or any(a.HasField("g") or a.graphs for a in proto.attribute):
        raise Unsupported(f"a constant {proto.op_type}", "its result as a constant")
    if sum(array.size for array in feeds.values()) > MAX_ELEMENTS:
        raise Unsupported(f"a constant {proto.op_type} of more than {MAX_ELEMENTS} elements")
    _check_size(proto, feeds, opset)
    try:
        results = _evaluator(proto, feeds, opset).run(None, feeds)
    except Exception as error:  # the evaluator raises whatever numpy or its own op raises
        raise Unsupported(f"constant {proto.op_type} that cannot be evaluated ({error})") from error
    return {name: np.asarray(array) for name, array in zip(proto.output, results, strict=True)}


def _check_size(proto: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]], opset: int) -> None:
    """Unsupported where the result would be too large to compute, as far as ONNX infers its shape."""
    short = [onnx.numpy_helper.from_array(a, name) for name, a in feeds.items() if a.size <= SHORT]
    model = _model(proto, feeds, opset, short)
    for out in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output:
        if prod(d.dim_value for d in out.type.tensor_type.shape.dim) > MAX_ELEMENTS:
            raise Unsupported(f"a constant {proto.op_type} of more than {MAX_ELEMENTS} elements")


def refuse_parameters(op_type: str, constants: Sequence[NDArray[Any] | None]) -> None:
    """Unsupported where real numbers are not: ONNX knows no sum of floats and integers."""
    for array in constants:
        if array is None or op_type in OF_INTEGERS:
            continue
        if array.dtype.kind != "f":
            raise Unsupported(f"{array.dtype} parameters beside real numbers", "floats, as the input")
        if op_type != "Clip" and not np.isfinite(array).all():
            raise Unsupported("NaN or infinite parameters", "another export")


def _is_root(proto: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]]) -> bool:
    """A square root of positive reals: what a normalisation without an op of its own divides by."""
    if proto.op_type not in ("Sqrt", "Pow") or not all(a.dtype.kind == "f" for a in feeds.values()):
        return False
    exponent = feeds[proto.input[1]] if proto.op_type == "Pow" else np.array(0.5)
    return exponent.size == 1 and exponent.ravel()[0] == 0.5 and bool((feeds[proto.input[0]] > 0).all())


def _evaluator(proto: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]], opset: int) -> ReferenceEvaluator:
    return ReferenceEvaluator(_model(proto, feeds, opset, []))


def _model(
    proto: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]], opset: int, given: list[onnx.TensorProto]
) -> onnx.ModelProto:
    kinds = {n: onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in feeds.items()}
    inputs = [onnx.helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in feeds.items()]
    outputs = [onnx.helper.make_empty_tensor_value_info(n) for n in proto.output]
    graph = onnx.helper.make_graph([proto], "constant", inputs, outputs, given)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
