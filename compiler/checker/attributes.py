# SPDX-License-Identifier: Apache-2.0
"""Attributes of a node as opset 7 and later have them; an older node that would compute something else is
rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from .files import Rejected, need

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def name_of(proto: Any) -> str:
    """A node's own name, or one of its op and first output."""
    need(proto.output, f"{proto.name or proto.op_type}: no outputs")
    return proto.name or f"{proto.op_type}_{proto.output[0]}"


def attributes_of(
    proto: Any, name: str, constants: Mapping[str, np.ndarray], opset: int, *, own: bool
) -> dict[str, Any]:
    """By name. `own`: a node that an expansion has written, in the new way."""
    found = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in proto.attribute}
    need(len(found) == len(proto.attribute), f"{name}: an attribute twice")
    if opset < 7 and not own and proto.domain in ("", "ai.onnx"):
        _modern(name, proto.op_type, found, [constants[i] for i in proto.input if i in constants])
        if opset < 6:
            found.pop("consumed_inputs", None)  # memory that a runtime may use again
    return found


def _modern(name: str, op: str, found: dict[str, Any], constants: list[np.ndarray]) -> None:
    if op in ARITHMETIC:
        need("axis" not in found, f"{name}: broadcasts along an axis of its own")
    if op in (*ARITHMETIC, "Gemm"):
        found.pop("broadcast", None)  # what it allows is numpy's rule
    if op in ("BatchNormalization", "Dropout"):
        need(found.pop("is_test", 0), f"{name}: training mode")
    if op == "PRelu":
        need(all(c.ndim != 1 or c.size == 1 for c in constants), f"{name}: a slope per channel")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.GraphProto):
        raise Rejected("float.onnx: a subgraph")
    return tuple(value) if isinstance(value, list) else value
