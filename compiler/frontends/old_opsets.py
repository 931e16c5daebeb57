# SPDX-License-Identifier: Apache-2.0
"""Opsets before 7: what their nodes mean by attributes and shapes that later opsets no longer have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from ..ops.base import Unsupported

REMEDY = "an export of opset 7 or later"


def refuse_old(proto: onnx.NodeProto, constants: Mapping[str, NDArray[Any]], opset: int) -> None:
    """Unsupported for a node that a later opset would read differently."""
    given = {a.name: a.i for a in proto.attribute}
    if opset >= 7:
        return
    if proto.op_type in ("Add", "Sub", "Mul", "Div") and "axis" in given:
        raise Unsupported(f"{proto.op_type} that broadcasts along an axis of its own", REMEDY)
    if proto.op_type in ("BatchNormalization", "Dropout") and not given.get("is_test", 0):
        raise Unsupported(f"{proto.op_type} in training mode (is_test = 0)", REMEDY)
    slopes = constants.get(proto.input[1]) if proto.op_type == "PRelu" else None
    if slopes is not None and slopes.ndim == 1 and slopes.size > 1:
        raise Unsupported("PRelu with a vector of slopes per channel", REMEDY)
