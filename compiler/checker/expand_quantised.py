# SPDX-License-Identifier: Apache-2.0
"""Ops on integers in the reference: the real op between quantisers. Names are the compiler's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .expand import Place
from .files import need

# op: (real op, tensors as (suffix, position, axis of scales), position of the bias, of the output's scale)
_FORMS: dict[str, tuple[str, tuple[tuple[str, int, int | None], ...], int | None, int]] = {
    "QLinearConv": ("Conv", (("x", 0, None), ("w", 3, 0)), 8, 6),
    "QLinearMatMul": ("MatMul", (("a", 0, None), ("b", 3, -1)), None, 6),
    "QGemm": ("Gemm", (("a", 0, None), ("b", 3, 1)), 6, 7),
    "QLinearAdd": ("Add", (("a", 0, None), ("b", 3, None)), None, 6),
    "QLinearMul": ("Mul", (("a", 0, None), ("b", 3, None)), None, 6),
    **{
        f"QLinear{op}": (op, (("x", 0, None),), None, 3)
        for op in ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")
    },
}


def _integer_op(p: Place) -> bool:
    real_op, tensors, bias, out = _FORMS[p.op]
    attributes = dict(p.attributes)
    need(not attributes.pop("channels_last", 0), f"{p.name}: channels_last")
    opset = attributes.pop("opset", p.opset)
    if real_op == "Softmax":
        axis = attributes.setdefault("axis", -1)
        need(axis in (-1, len(p.first())) or (opset < 13) == (p.opset < 13), f"{p.name}: axis of an opset")
    inputs = []
    for suffix, i, axis in tensors:
        if p.op == "QGemm" and suffix == "b" and attributes.get("transB", 0):
            axis = 0
        inputs.append(_dequantised(p, i, suffix, axis))
    if bias is not None and bias < len(p.inputs) and p.inputs[bias]:
        q, unit = p.constants.get(p.inputs[bias]), _scale(p, 1) * _scale(p, 4)
        fit = q is not None and q.dtype == np.int32 and q.ndim == 1 and unit.size in (1, q.size)
        need(fit, f"{p.name}: bias")
        assert q is not None
        inputs.append(p.free("bias"))
        p.constants[inputs[-1]] = unit * q.astype(np.float64)  # both exact: rounded once
    if p.op == "QGemm":
        attributes["beta"] = attributes.get("alpha", 1.0)  # the bias is part of the sum that alpha scales
    if p.op == "QGemm" and (out >= len(p.inputs) or not p.inputs[out]):
        p.put(real_op, inputs, **attributes)
        return True
    _quantised(p, real_op, inputs, out, attributes)
    return True


def _concat(p: Place) -> bool:
    p.only("axis")
    need(len(p.inputs) % 3 == 2, f"{p.name}: inputs")
    parts = [_dequantised(p, i, f"x{i // 3}", None) for i in range(2, len(p.inputs), 3)]
    _quantised(p, "Concat", parts, 0, p.attributes)
    return True


def _same(p: Place) -> bool:
    p.put(p.op, p.inputs, **p.attributes)
    return True


def _integer_sum(p: Place) -> bool:
    """ConvInteger, MatMulInteger: the real sum, s times the integers of the file."""
    need(p.inputs[0] in p.scales, f"{p.name}: integers without a scale")
    s, zeros = float(p.scales[p.inputs[0]][0]), (*p.inputs[2:], "", "")
    need(not zeros[0] or p.constants[zeros[0]].size == 1, f"{p.name}: zero points per row")
    unit, one = p.free("scale"), p.free("one")
    computed = p.inputs[1] in p.shapes
    need(not computed or p.inputs[1] in p.scales, f"{p.name}: a second factor without a scale")
    second = float(p.scales[p.inputs[1]][0]) if computed else 1.0
    p.constants[unit], p.constants[one] = np.array(s, np.float32), np.array(second, np.float32)
    x = p.put("DequantizeLinear", [n for n in (p.inputs[0], unit, zeros[0]) if n], "x")
    conv = p.op == "ConvInteger"
    given = [n for n in (p.inputs[1], one, zeros[1]) if n]
    w = p.put("DequantizeLinear", given, "w", axis=0 if conv else -1)
    p.put("Conv" if conv else "MatMul", [x, w], **p.attributes)
    p.sums[p.outputs[0]] = s * second
    return True


def of_sum(p: Place) -> bool:
    """A Cast keeps such a sum, a Mul by a constant ends it; nothing else may read it."""
    source = next(i for i in p.inputs if i in p.sums)
    if p.op == "Cast":
        need(p.attributes.get("to") in (1, 11), f"{p.name}: a cast of sums")
        p.put("Identity", [source])
        p.sums[p.outputs[0]] = p.sums[source]
        return True
    factor = [p.constants[i] for i in p.inputs if i in p.constants]
    fit = p.op == "Mul" and len(p.inputs) == 2 and len(factor) == 1 and factor[0].dtype.kind == "f"
    need(fit, f"{p.name}: {p.op} of sums of integers")
    name = p.free("factor")
    p.constants[name] = factor[0].astype(np.float64) / p.sums[source]
    p.put("Mul", [source, name])
    return True


def _scale(p: Place, i: int) -> Any:
    need(i < len(p.inputs) and p.inputs[i] in p.constants, f"{p.name}: a scale that is not constant")
    return p.constants[p.inputs[i]].astype(np.float64).ravel()


def _dequantised(p: Place, i: int, suffix: str, axis: int | None) -> str:
    many = axis is not None and _scale(p, i + 1).size > 1
    more: dict[str, Any] = {"axis": axis} if many else {}
    given = [name for name in p.inputs[i : i + 3] if name]
    return p.put("DequantizeLinear", given, suffix, **more)


def _quantised(p: Place, op: str, inputs: list[str], i: int, attributes: dict[str, Any]) -> None:
    real = p.put(op, inputs, "real", **attributes)
    p.parts[-1].name = p.name
    need(i + 1 < len(p.inputs) and p.inputs[i + 1], f"{p.name}: no zero point of the output")
    p.put("QuantizeLinear", [real, p.inputs[i], p.inputs[i + 1]])


QUANTISED: dict[tuple[str, str], Callable[[Place], bool]] = {
    **{("" if op in ("QLinearConv", "QLinearMatMul") else "com.microsoft", op): _integer_op for op in _FORMS},
    ("", "ConvInteger"): _integer_sum,
    ("", "MatMulInteger"): _integer_sum,
    ("com.microsoft", "QLinearConcat"): _concat,
    ("com.microsoft", "DequantizeLinear"): _same,
    ("com.microsoft", "QuantizeLinear"): _same,
}
