# SPDX-License-Identifier: Apache-2.0
"""Nodes that depend on constants only, and Shape: computed at import by onnx's reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..ops.base import MAX_ELEMENTS, Unsupported

MOVES = (  # exact on any type; what Cast and QuantizeLinear round is rounded by definition
    *(
        "Abs",
        "Cast",
        "QuantizeLinear",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Max",
        "Min",
        "Neg",
        "Pad",
    ),
    *("Reshape", "Shape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)

SUMS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
WHOLE = "biu"  # kinds of numpy's types; of the others bfloat16 and smaller floats have none of their own
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
        shape, ends = shapes[proto.input[0]], {a.name: a.i for a in proto.attribute}
        cut = shape[ends.get("start", 0) : ends.get("end", len(shape))]  # clamped, as ONNX says
        return {proto.output[0]: np.array(cut, np.int64)}
    feeds = {name: constants[name] for name in proto.input if name}
    if _is_root(proto, feeds):
        root = np.sqrt(feeds[proto.input[0]].astype(np.float64))  # the nearest double
        inverse = proto.op_type == "Pow" and feeds[proto.input[1]].ravel()[0] < 0
        return {proto.output[0]: 1 / root if inverse else root}
    if proto.op_type in SUMS and all(array.dtype.kind == "f" for array in feeds.values()):
        return {proto.output[0]: _arithmetic(proto.op_type, [constants[name] for name in proto.input])}
    if proto.op_type not in MOVES and not all(array.dtype.kind in WHOLE for array in feeds.values()):
        # It would be computed in the file's own type, and the certificate speaks of real arithmetic.
        raise Unsupported(f"{proto.op_type} of real constants", "the result as one constant")
    random = proto.op_type.startswith("Random") or proto.op_type in ("Bernoulli", "Multinomial")
    windows = any(a.name == "strides" for a in proto.attribute)  # onnx divides by strides of 0
    if random or windows or any(a.HasField("g") or a.graphs for a in proto.attribute):
        raise Unsupported(f"a constant {proto.op_type}", "its result as a constant")
    if sum(array.size for array in feeds.values()) > MAX_ELEMENTS:
        raise Unsupported(f"a constant {proto.op_type} of more than {MAX_ELEMENTS} elements")
    _check_size(proto, feeds, opset)
    if proto.op_type == "Slice" and opset >= 10:
        return {proto.output[0]: _cut([constants[name] if name else None for name in proto.input])}
    if proto.op_type in ("Div", "Mod") and not constants[proto.input[1]].all():
        raise Unsupported(f"a constant {proto.op_type} by 0", "another export")
    if proto.op_type == "Div" and len({array.dtype for array in feeds.values()}) == 1:
        return {proto.output[0]: _quotient(constants[proto.input[0]], constants[proto.input[1]])}
    try:
        results = _evaluated(proto, feeds, opset)
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


def refuse_parameters(
    op_type: str, constants: Sequence[NDArray[Any] | None], attributes: Mapping[str, Any]
) -> None:
    """Unsupported where real numbers are not: ONNX knows no sum of floats and integers."""
    numbers = [np.asarray(value) for value in attributes.values() if isinstance(value, float)]
    for array in (*constants, *numbers):
        if array is None or op_type in OF_INTEGERS:
            continue
        if array.dtype.kind != "f":
            raise Unsupported(f"{array.dtype} parameters beside real numbers", "floats, as the input")
        if op_type != "Clip" and not np.isfinite(array).all():
            raise Unsupported("NaN or infinite parameters", "another export")


def _is_root(proto: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]]) -> bool:
    """A square root of positive reals: what a normalisation without an op of its own divides by. Or one
    divided by it: what an attention multiplies by."""
    if proto.op_type not in ("Sqrt", "Pow") or not all(a.dtype.kind == "f" for a in feeds.values()):
        return False
    exponent = feeds[proto.input[1]] if proto.op_type == "Pow" else np.array(0.5)
    return exponent.size == 1 and abs(exponent.ravel()[0]) == 0.5 and bool((feeds[proto.input[0]] > 0).all())


def _arithmetic(op: str, operands: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Element-wise, each result the nearest double: a folded normalisation is no coarser than a root."""
    a, b = operands
    if prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_ELEMENTS:
        raise Unsupported(f"a constant {op} of more than {MAX_ELEMENTS} elements")
    with np.errstate(all="ignore"):
        found: NDArray[np.float64] = SUMS[op](a.astype(np.float64), b.astype(np.float64))
    if not np.isfinite(found).all():
        raise Unsupported(f"a constant {op} that is not finite", "another export")
    return found


def _quotient(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Of integers, towards 0: onnx's own goes through doubles, which do not hold all of 64 bits."""
    floor = a // b
    return np.asarray(floor + ((floor < 0) & (floor * b != a)), floor.dtype)


def sliced(
    x: NDArray[Any], axes: Sequence[int], starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]
) -> NDArray[Any]:
    """What a Slice takes. A start in front of the axis means its first element, backwards too, where Python
    (and onnx's evaluator) would take nothing."""
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(max(start, -x.shape[axis]), end, step)
    return x[tuple(cut)]


def _cut(given: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
    """A Slice of a constant, from opset 10 on."""
    x, *rest = given
    numbers = [[] if a is None else [int(n) for n in a.ravel()] for a in (*rest, None, None)]
    starts, ends, axes, steps = numbers[:4]
    assert x is not None
    return sliced(x, axes or range(len(starts)), starts, ends, steps or [1] * len(starts))


def _evaluated(proto: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]], opset: int) -> list[Any]:
    from onnx.reference import ReferenceEvaluator  # takes long to import, and most files need none of it

    return [*ReferenceEvaluator(_model(proto, feeds, opset, [])).run(None, {**feeds})]


def _model(
    proto: onnx.NodeProto, feeds: Mapping[str, NDArray[Any]], opset: int, given: list[onnx.TensorProto]
) -> onnx.ModelProto:
    kinds = {n: onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in feeds.items()}
    inputs = [onnx.helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in feeds.items()]
    outputs = [onnx.helper.make_empty_tensor_value_info(n) for n in proto.output]
    graph = onnx.helper.make_graph([proto], "constant", inputs, outputs, given)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
