# SPDX-License-Identifier: Apache-2.0
"""QOperator form: an op that takes and returns integers is the real op between two quantisers.

QLinearConv(x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias) becomes

    y = QuantizeLinear(Conv(DequantizeLinear(x ...), DequantizeLinear(w ...), bias * x_scale * w_scale), ...)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.base import Unsupported
from .site import Expansion, Site

STATIC = "static quantisation (onnxruntime.quantization.quantize_static)"


def conv(site: Site) -> bool:
    """QLinearConv."""
    x, w = _real(site, 0, "x"), _real(site, 3, "w", axis=0)
    _back(site, "Conv", [x, w, *_bias(site, 8)], 6, **site.attributes)
    return True


def matmul(site: Site) -> bool:
    """QLinearMatMul."""
    _back(site, "MatMul", [_real(site, 0, "a"), _real(site, 3, "b", axis=-1)], 6)
    return True


def gemm(site: Site) -> bool:
    """QGemm; without y_scale the result stays real."""
    axis = 0 if site.get("transB", 0) else 1
    inputs = [_real(site, 0, "a"), _real(site, 3, "b", axis=axis), *_bias(site, 6)]
    attributes = {**site.attributes, "beta": site.get("alpha", 1.0)}  # the bias is in the sum
    if _name(site, 7):
        _back(site, "Gemm", inputs, 7, **attributes)
    else:
        site.put("Gemm", inputs, **attributes)
    return True


def two(op_type: str) -> Expansion:
    """QLinearAdd and QLinearMul."""

    def expand(site: Site) -> bool:
        _back(site, op_type, [_real(site, 0, "a"), _real(site, 3, "b")], 6, **site.attributes)
        return True

    return expand


def one(op_type: str) -> Expansion:
    """An op of one tensor: (x, x_scale, x_zero, y_scale, y_zero)."""

    def expand(site: Site) -> bool:
        if site.get("channels_last", 0):
            raise Unsupported("channels_last = 1", "channels first")
        more = {k: v for k, v in site.attributes.items() if k not in ("channels_last", "opset")}
        if op_type == "Softmax":
            more |= {"axis": site.get("axis", -1)}
            other = (site.get("opset", site.opset) < 13) != (site.opset < 13)  # one axis, or all from it on
            if other and more["axis"] not in (-1, len(site.first)):
                raise Unsupported(f"axis {more['axis']} of another opset than the file's", "the last axis")
        _back(site, op_type, [_real(site, 0, "x")], 3, **more)
        return True

    return expand


def concat(site: Site) -> bool:
    """QLinearConcat(y_scale, y_zero, x0, x0_scale, x0_zero, x1, ...)."""
    parts = [_real(site, i, f"x{i // 3}") for i in range(2, len(site.inputs), 3)]
    _back(site, "Concat", parts, 0, **site.attributes)
    return True


def plain(site: Site) -> bool:
    """QuantizeLinear and DequantizeLinear of another domain, which ONNX Runtime writes for older opsets."""
    site.put(site.proto.op_type, site.inputs, **site.attributes)
    return True


def _name(site: Site, i: int) -> str:
    return site.inputs[i] if i < len(site.inputs) else ""


def _scale(site: Site, i: int) -> Any:
    scale = site.given(i)
    if scale is None:
        raise Unsupported(f"no scale as input {i}", "another export")
    return scale.astype(np.float64).ravel()


def _real(site: Site, i: int, suffix: str, axis: int | None = None) -> str:
    """Input i through DequantizeLinear: its scale and zero point are the next two inputs."""
    more: dict[str, Any] = {} if axis is None or _scale(site, i + 1).size == 1 else {"axis": axis}
    zero = _name(site, i + 2)
    given = [_name(site, i), _name(site, i + 1), *([zero] if zero else [])]
    return site.put("DequantizeLinear", given, suffix, **more)


def _bias(site: Site, i: int) -> list[str]:
    """The int32 bias in units of x_scale * w_scale, which a double holds exactly."""
    if not _name(site, i):
        return []
    bias, unit = site.given(i), _scale(site, 1) * _scale(site, 4)
    if bias is None or bias.dtype != np.int32 or bias.ndim != 1:
        raise Unsupported("a bias that is not an int32 vector", "another export")
    scale = site.constant("bias.scale", unit, np.float64)
    more: dict[str, Any] = {} if unit.size == 1 else {"axis": 0}
    return [site.put("DequantizeLinear", [_name(site, i), scale], "bias", **more)]


def _back(site: Site, op_type: str, inputs: list[str], i: int, **attributes: Any) -> None:
    """The op, named as the node, and its result quantised by inputs i and i + 1."""
    real = site.put(op_type, inputs, "real", **attributes)
    site.parts[-1].name = site.name
    zero = _name(site, i + 1)
    if not zero:
        raise Unsupported("no zero point of the output", "one of the output's type")
    site.put("QuantizeLinear", [real, _name(site, i), zero])
    site.parts[-1].name = f"{site.name}.quantise"


QOPERATOR: dict[tuple[str, str], Expansion] = {("", "QLinearConv"): conv, ("", "QLinearMatMul"): matmul}
QOPERATOR |= {
    ("com.microsoft", op): expansion
    for op, expansion in {
        "DequantizeLinear": plain,
        "QuantizeLinear": plain,
        "QGemm": gemm,
        "QLinearConcat": concat,
        "QLinearAdd": two("Add"),
        "QLinearMul": two("Mul"),
        **{
            f"QLinear{op}": one(op)
            for op in ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")
        },
    }.items()
}
QOPERATOR_REMEDIES = {  # integer ops that have no static form here
    ("", "DynamicQuantizeLinear"): STATIC,
    ("com.microsoft", "DynamicQuantizeMatMul"): STATIC,
    ("com.microsoft", "MatMulIntegerToFloat"): STATIC,
}
