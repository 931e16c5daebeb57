# SPDX-License-Identifier: Apache-2.0
"""Read an ONNX file and say in one line what is wrong with it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from ..errors import CompileError
from ..ops.base import MAX_ELEMENTS
from .expansions.qonnx import DOMAINS
from .order import sort_nodes

MAX_BYTES = 1 << 30
NEWEST_IR = 14  # of onnx 1.23; onnx 1.19 knows versions up to 12. Later ones add types and labels
NEWEST_OPSET = 28  # of onnx 1.23: what a later one means by an op is not known
TWO_BITS = {25: "uint2", 26: "int2"}  # types of opset 25, which onnx knows from 1.20 on
FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}
WHOLE: dict[int, Any] = {onnx.TensorProto.INT8: np.int8, onnx.TensorProto.UINT8: np.uint8}
WHOLE |= {onnx.TensorProto.INT16: np.int16, onnx.TensorProto.UINT16: np.uint16}


@dataclass(frozen=True)
class InputSpec:
    """A graph input: shape without batch; `integer` is numpy's int8 or uint8 where the file declares it."""

    name: str
    shape: tuple[int, ...]
    integer: type[np.generic] | None


def read_model(path: Path) -> onnx.ModelProto:
    """The checked model with external data loaded."""
    if not path.is_file():
        raise CompileError(str(path), "no such file", "an ONNX model")
    if path.stat().st_size > MAX_BYTES:
        raise CompileError(str(path), f"{path.stat().st_size} bytes", f"at most {MAX_BYTES}")
    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)  # whatever its name
    except (DecodeError, ValueError) as error:
        raise CompileError(str(path), "not an ONNX file, or truncated", "an ONNX model") from error
    if not model.graph.node:
        raise CompileError(
            str(path), "no nodes", "an ONNX model", "another file: this one is empty or damaged"
        )
    _import_domains(model)
    sort_nodes(model.graph)
    try:
        _stay_inside(model, path)
        onnx.load_external_data_for_model(model, str(path.resolve().parent))
        _check(model)
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        first = [*str(error).strip().splitlines(), type(error).__name__][0]
        missing = any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
        remedy = "the file of external weights beside the model" if missing else "another export"
        raise CompileError(str(path), f"invalid ONNX ({first})", "a valid model", remedy) from error
    if opset_of(model) > NEWEST_OPSET:
        raise CompileError(
            str(path), f"opset {opset_of(model)}", f"at most {NEWEST_OPSET}", "an export of an older opset"
        )
    for what, entries in (("input", model.graph.input), ("output", model.graph.output)):
        names = [entry.name for entry in entries]
        if not names:
            raise CompileError(str(path), f"no {what}s", "at least one", "another export")
        if len(set(names)) < len(names):
            raise CompileError(
                str(path), f"two {what}s of one name in {names}", "one name each", "another export"
            )
    return model


def _check(model: onnx.ModelProto) -> None:
    """onnx's checks, also of a file that a newer onnx wrote, and of one that leaves out an output's type or
    shape, which follow from its nodes."""
    version = model.ir_version
    if onnx.IR_VERSION < version <= NEWEST_IR:
        model.ir_version = onnx.IR_VERSION
    kept = copy.deepcopy(list(model.graph.output))
    for entry in model.graph.output:
        if entry.type.WhichOneof("value") in (None, "tensor_type"):
            kind = entry.type.tensor_type
            kind.shape.SetInParent()
            kind.elem_type = kind.elem_type or onnx.TensorProto.FLOAT
    onnx.checker.check_model(model)
    model.ir_version = version
    for entry, before in zip(model.graph.output, kept, strict=True):
        entry.CopyFrom(before)


def _import_domains(model: onnx.ModelProto) -> None:
    """Brevitas writes nodes of a domain that the file does not import."""
    known = {entry.domain for entry in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} & set(DOMAINS) - known):
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))


def _stay_inside(model: onnx.ModelProto, path: Path) -> None:
    """CompileError for weights that a symbolic link takes from another folder: onnx would follow it."""
    folder = path.resolve().parent
    stored = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    for tensor in [*model.graph.initializer, *stored]:
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise CompileError(
                    str(path),
                    f"invalid ONNX ({tensor.name} in {entry.value!r}, outside the folder of the model)",
                    "weights in files beside the model",
                    "a copy of that file there",
                )


def self_contained(path: Path) -> bytes:
    """The file's own bytes, or, when it keeps weights in other files, one file with all of them."""
    raw = onnx.load(str(path), load_external_data=False)
    outside = any(t.data_location == onnx.TensorProto.EXTERNAL for t in raw.graph.initializer)
    return read_model(path).SerializeToString(deterministic=True) if outside else path.read_bytes()


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def initial_constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Initializers as numpy arrays."""
    try:
        return {t.name: _array(t) for t in model.graph.initializer}
    except (ValueError, TypeError, KeyError) as error:
        raise CompileError(model.graph.name or "model", f"damaged initializer ({error})") from error


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    """The elements of an initializer; 2-bit types (opset 25) lie four to a byte, the first one lowest."""
    if any(n < 0 for n in tensor.dims):
        raise ValueError(f"{tensor.name} has the shape {list(tensor.dims)}")
    kind = TWO_BITS.get(tensor.data_type)
    if kind is None:
        return np.asarray(numpy_helper.to_array(tensor))
    held = np.frombuffer(tensor.raw_data or bytes(tensor.int32_data), np.uint8)
    fields = ((held[:, None] >> np.arange(0, 8, 2)) & 3).astype(np.int64).ravel()[: prod(tensor.dims)]
    values = fields - 4 * (fields > 1) if kind == "int2" else fields
    return values.reshape(tensor.dims).astype(np.dtype(kind))


def input_specs(model: onnx.ModelProto) -> list[InputSpec]:
    """Graph inputs that are not initializers, with the batch axis taken off."""
    specs = [_spec(entry) for entry in _inputs(model)]
    if not specs:
        raise CompileError(model.graph.name or "model", "no inputs", "at least one")
    return specs


def input_errors(model: onnx.ModelProto) -> list[CompileError]:
    """What is wrong with each input that is not as it must be."""
    found = []
    for entry in _inputs(model):
        try:
            _spec(entry)
        except CompileError as error:
            found.append(error)
    return found


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {t.name for t in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in constants]


def _spec(entry: onnx.ValueInfoProto) -> InputSpec:
    tensor = entry.type.tensor_type
    if tensor.elem_type not in FLOATS | WHOLE.keys():
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise CompileError(entry.name, f"input of type {kind}", "float, int8, uint8, int16 or uint16")
    if not tensor.HasField("shape"):
        raise CompileError(entry.name, "input without a shape", "static extents after the batch axis")
    shape = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return InputSpec(entry.name, _without_batch(entry.name, shape), WHOLE.get(tensor.elem_type))


def _without_batch(name: str, shape: list[int | None]) -> tuple[int, ...]:
    """A symbolic first axis means batch 1, a fixed 1 is the batch, a vector without batch gains one."""
    if any(n is None or n <= 0 for n in shape[1:]):
        raise CompileError(
            name,
            f"dynamic shape {shape}",
            "static extents after the batch axis",
            "an export with fixed sizes",
        )
    rest = tuple(n for n in shape[1:] if n is not None)
    if prod(n for n in shape if n) > MAX_ELEMENTS:
        raise CompileError(name, f"{prod(rest)} elements in shape {shape}", f"at most {MAX_ELEMENTS}")
    if len(shape) == 1 and shape[0] is not None and shape[0] > 1:
        return (shape[0],)
    if not shape or shape[0] not in (None, 0, 1):
        raise CompileError(name, f"a fixed batch in shape {shape}", "batch 1 or a symbolic batch")
    return rest or (1,)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes: numbers, texts, tuples of numbers."""
    return {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return tuple(value) if isinstance(value, list) else value
