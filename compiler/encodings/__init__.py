# SPDX-License-Identifier: Apache-2.0
"""Exact ways to store integer weights: decode(encode(W)) == W. One file per encoding, one line here."""

from __future__ import annotations

from .base import Encoding
from .int4 import Int4
from .int8 import Int8
from .int16 import Int16
from .pool64 import Pool64, make_pool
from .pot4 import Pot4

ENCODINGS: dict[str, Encoding] = {"int8": Int8(), "int4": Int4(), "int16": Int16(), "pot4": Pot4()}


def encoding_of(code: str, pool: Pool64 | None) -> Encoding:
    """The encoding of a code; pool codes share the network's one pool."""
    if code == "pool64":
        assert pool is not None
        return pool
    return ENCODINGS[code]


__all__ = ["ENCODINGS", "Encoding", "Int4", "Int8", "Int16", "Pool64", "Pot4", "encoding_of", "make_pool"]
