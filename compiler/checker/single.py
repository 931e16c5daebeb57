# SPDX-License-Identifier: Apache-2.0
"""The float network in float32: how far a layer may be from its real value, and of which files this is known.

Every product, sum, quotient and root is off by 2^-24 of itself at most, in whatever order sums are added,
fused or not; results and operands below 2^-126 may become 0; functions and Softmax have a few units more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .files import need
from .layers import Layer
from .rounding import Floats, Ints, down, up

UNIT, SMALL, NOTHING = 2.0**-24, 2.0**-126, 2.0**-149
LARGEST = 2.0**126  # no sum that stays below it overflows on its way
OVER = 1 + 2.0**-20  # pays for float64, and for errors of errors
BATCH_NORM = 8  # roundings: the factor has four, it is used twice, and two additions
FLOATING = ("DOUBLE", "FLOAT16", "BFLOAT16")
OPS = {"Add", "ArgMax", "AveragePool", "BatchNormalization", "Clip", "Concat", "Constant", "ConstantOfShape"}
OPS |= {"Conv", "ConvTranspose", "Div", "Dropout", "Expand", "Flatten", "Gather", "Gelu", "Gemm", "HardSwish"}
OPS |= {"GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "Identity", "LeakyRelu", "MatMul", "Max", "Mul"}
OPS |= {"MaxPool", "Min", "Neg", "PRelu", "Pad", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Shape", "Sub"}
OPS |= {"Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Tanh", "Tile", "Transpose", "Unsqueeze"}

COMPUTED = {"Add", "Sub", "Mul", "Div"}


def only_known(data: bytes) -> None:
    """Rejected unless the file computes in float32, by nodes whose errors are those of this file."""
    graph = onnx.load_model_from_string(data).graph
    held = [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
    kinds = [t.data_type for t in (*graph.initializer, *held)]
    kinds += [entry.type.tensor_type.elem_type for entry in graph.input]
    need(not {onnx.TensorProto.DataType.Value(kind) for kind in FLOATING} & {*kinds}, "float32: other floats")
    types = {node.op_type for node in graph.node}
    need(
        types <= OPS and {node.domain for node in graph.node} <= {"", "ai.onnx"}, "float32: other operations"
    )
    need(not {"ArgMax", "Softmax"} <= types, "float32: an ArgMax of a Softmax")
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Shape" or {*node.input} <= constants | {""}:
            constants |= {*node.output}
            need(node.op_type not in COMPUTED, f"float32: {node.name}, of constants")
        numbers = {a.name: a.f for a in node.attribute}
        plain = node.op_type != "Gemm" or numbers.get("alpha", 1) == numbers.get("beta", 1) == 1
        need(plain and abs(numbers.get("beta", 0)) <= 8, f"float32: factors of {node.name}")


def reach(box: Floats) -> Floats:
    """Magnitudes of x."""
    return np.asarray(np.abs(box[:2]).max(axis=0))


def entered(sizes: Floats) -> Floats:
    """An input: rounded to float32, or float32(scale) times an integer."""
    return OVER * (2 * UNIT * sizes + SMALL)


def inner(w: Floats, sizes: Floats, extra: int, offset: Floats, gain: Floats) -> Floats:
    """Sums of products of w (..., M, K) with terms up to `sizes` (..., K, P): a term that is not 0 is rounded
    once itself and with each of the others, and `extra` times more; offset and gain (..., M, 1)."""
    w = np.abs(w)
    count = (w != 0).astype(float) @ (sizes >= NOTHING).astype(float) + (offset > 0) + extra
    share, whole = UNIT * count, w @ sizes + offset
    fits = gain * (whole + NOTHING) < LARGEST  # nothing is known of what a factor of 0 takes away
    need(fits.all() and share.max() <= 1 / 16, "float32: a sum that may overflow")
    flushed = 2 * (count + 1) + w.sum(axis=-1)[..., None] + sizes.sum(axis=-2)[..., None, :]
    return np.asarray(OVER * (whole * share / (1 - share) + 2 * SMALL * gain * flushed))


def pointwise(boxes: list[Floats], out: Floats) -> Floats:
    """Of two tensors, one rounding. A function: 16 units of 1 + |x| + |f(x)|."""
    ends, sizes = reach(out), [reach(box) for box in boxes]
    need((ends < LARGEST).all(), "float32: a number that may overflow")
    if len(sizes) == 1:
        return OVER * 16 * UNIT * (1 + sizes[0] + ends)
    return OVER * (UNIT * ends + 2 * SMALL * (2 + sizes[0] + sizes[1]))


def drifted(box: Floats, by: Floats) -> Floats:
    """x is off by at most `by`, y is not."""
    lx, ux, ly, uy, ld, ud = box
    return np.stack([down(lx - by), up(ux + by), ly, uy, down(ld - by), up(ud + by)])


def folded(layer: Layer, weights: Ints | Floats, taps: int) -> tuple[int, Floats, Floats]:
    """extra, offset, gain of a float layer with weights (G, M, K); of a mean the quotient is one rounding, or
    the factor and the product, and the sum larger by the number of its taps."""
    f: dict[str, Any] = layer.fields
    shape = (*weights.shape[:2], 1)
    if layer.op == "AveragePool":
        whole = bool(f.get("total"))
        return int(not whole), np.zeros(shape), np.full(shape, 1.0 if whole else float(taps))
    plain = 0, np.abs(f["bias"]), np.ones(len(f["bias"]))
    extra, offset, gain = f.get("folded", plain)
    return extra, np.reshape(offset, shape), np.reshape(gain, shape)
