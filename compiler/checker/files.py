# SPDX-License-Identifier: Apache-2.0
"""Files that may be hostile: sizes are limited, JSON is strict, and whatever is wrong is a Rejected."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 1 << 28
MAX_ELEMENTS = 1 << 24
_RATIONAL = re.compile(r"-?[0-9]{1,1200}/[0-9]{1,1200}", re.ASCII)


class Rejected(Exception):
    """The certificate is not accepted; the text says why."""


def need(condition: object, reason: str) -> None:
    """Rejected with this reason unless the condition holds."""
    if not condition:
        raise Rejected(reason)


def read(path: Path) -> bytes:
    """The bytes of a file of acceptable size."""
    need(path.is_file(), f"{path.name}: no such file")
    need(path.stat().st_size <= MAX_BYTES, f"{path.name}: larger than {MAX_BYTES} bytes")
    return path.read_bytes()


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path in it; {} when there is no such folder."""
    names = sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    need(not folder.is_symlink() and not any(p.is_symlink() for p in names), f"{folder.name}/: holds links")
    need(len(names) <= 100_000, f"{folder.name}/: too many files")
    return {p.relative_to(folder).as_posix(): read(p) for p in names}


def tree_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 of the sorted lines "hash  path"."""
    return sha256("".join(f"{sha256(files[name])}  {name}\n" for name in sorted(files)).encode())


def strict_json(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object: UTF-8, no key twice, no NaN or infinity."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len({key for key, _ in pairs}) == len(pairs), f"{where}: a key twice in one object")
        return dict(pairs)

    def constant(text: str) -> NoReturn:
        raise Rejected(f"{where}: {text} is no number")

    try:
        found = json.loads(data.decode(), object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"{where}: not JSON ({type(error).__name__})") from error
    return mapping(found, where)


def read_npz(data: bytes, where: str) -> dict[str, NDArray[np.int64]]:
    """Arrays of integers; a bomb, an object array or anything else that is odd is rejected."""
    arrays: dict[str, NDArray[np.int64]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        items = archive.infolist()
        need(len({item.filename for item in items}) == len(items), f"{where}: a name twice")
        need(sum(item.file_size for item in items) <= MAX_BYTES, f"{where}: too large")
        for item in items:
            need(item.filename.endswith(".npy"), f"{where}: {item.filename!r} is no array")
            with archive.open(item) as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
                need(not stream.read(1), f"{where}: bytes after an array")
            need(array.dtype.kind in "iu" and array.dtype != np.uint64, f"{where}: {array.dtype} values")
            arrays[item.filename.removesuffix(".npy")] = array.astype(np.int64)
    return arrays


def mapping(value: Any, where: str, keys: set[str] | None = None) -> dict[str, Any]:
    """A JSON object, with exactly these keys if they are given."""
    if not isinstance(value, dict):
        raise Rejected(f"{where}: not an object")
    if keys is not None and set(value) != keys:
        odd = min(set(value) ^ keys)
        raise Rejected(f"{where}: {odd!r} is {'missing' if odd in keys else 'not a field'}")
    return value


def sequence(value: Any, where: str, count: int | None = None) -> list[Any]:
    """A JSON array, of `count` items if given."""
    if not isinstance(value, list):
        raise Rejected(f"{where}: not an array")
    need(count is None or len(value) == count, f"{where}: {len(value)} items, expected {count}")
    return value


def integer(value: Any, where: str, low: int = -(1 << 62), high: int = 1 << 62) -> int:
    """An integer (no boolean) in low..high."""
    if type(value) is not int or not low <= value <= high:
        raise Rejected(f"{where}: not an integer in {low} ... {high}")
    return value


def integers(value: Any, where: str, low: int, high: int, count: int | None = None) -> tuple[int, ...]:
    """An array of integers."""
    return tuple(integer(v, where, low, high) for v in sequence(value, where, count))


def text(value: Any, where: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise Rejected(f"{where}: not a text")
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    """An array of strings."""
    return tuple(text(v, where) for v in sequence(value, where))


def rational(value: Any, where: str) -> Fraction:
    """An exact rational "numerator/denominator"."""
    need(isinstance(value, str) and _RATIONAL.fullmatch(value), f"{where}: not a rational num/den")
    top, bottom = str(value).split("/")
    need(int(bottom) > 0, f"{where}: a denominator of 0")
    return Fraction(int(top), int(bottom))


def shape_of(value: Any, where: str) -> tuple[int, ...]:
    """A shape of 1 to MAX_ELEMENTS elements."""
    shape = integers(value, where, 1, MAX_ELEMENTS)
    need(len(shape) in range(1, 9) and prod(shape) <= MAX_ELEMENTS, f"{where}: shape {shape}")
    return shape


def floats(value: Any, where: str, count: int) -> NDArray[np.float64]:
    """An array of `count` finite JSON numbers."""
    found = sequence(value, where, count)
    need(all(type(v) in (int, float) for v in found), f"{where}: not numbers")
    need(all(-1e300 < v < 1e300 for v in found), f"{where}: not finite")
    return np.array(found, np.float64)
