# SPDX-License-Identifier: Apache-2.0
"""Kernels of the C target, one file each. docs/adding-a-kernel.md shows how to add one."""

from .base import Kernel, Packed
from .book import Book
from .buckets import Buckets
from .depthwise import Depthwise
from .fours import Fours
from .pairs import Pairs
from .plain import Plain, PlainPool, Unweighted
from .straight import Straight

# A step's kernels are those that take it; the first ones are tried first.
KERNELS: tuple[Kernel, ...] = (
    Pairs(),
    Depthwise(),
    Fours(),
    Plain("int8"),
    Plain("int4"),
    Plain("pot4"),
    Book(),
    Straight(),
    Buckets(),
    PlainPool("pool64"),
    *map(
        Unweighted,
        ("add", "average_pool", "concat", "max_pool", "mul", "reorder", "requantise", "softmax", "table"),
    ),
)

__all__ = ["KERNELS", "Kernel", "Packed"]
