# SPDX-License-Identifier: Apache-2.0
"""Kernels of the C target, one file each. docs/adding-a-kernel.md shows how to add one."""

from .add_split import AddSplit
from .baked import Baked
from .base import Kernel, Packed
from .book import Book
from .buckets import Buckets
from .depthwise import Depthwise
from .fours import Fours
from .halves import Halves
from .int16 import Int16, Int16Affine
from .int16_curves import Curves, Softmax16
from .neighbours import Neighbours
from .pairs import Pairs
from .plain import Plain, PlainPool, Unweighted
from .pools import AverageFours, MaxFours
from .quads16 import Halfbytes16, Quads16
from .ring import Ring
from .straight import Straight
from .sum16 import Sum16
from .triples import Triples
from .wide import Wide
from .wide16 import Wide16

# Ops without weights that there is one kernel for; another one where integers have 16 bits.
BOTH = (
    *("add", "arg_max", "average_pool", "concat", "mat_mul", "max_pool", "mul", "reorder", "requantise"),
    "table",
)

# A step's kernels are those that take it; the first ones are tried first.
KERNELS: tuple[Kernel, ...] = (
    Halves(),
    Pairs(),
    Wide(),
    Neighbours(),
    Depthwise(),
    Fours(),
    Plain("int8"),
    Plain("int4"),
    Plain("pot4"),
    Book(),
    PlainPool("pool64"),
    AddSplit(),
    AverageFours(),
    MaxFours(),
    Ring(),
    Baked(),
    Straight(),
    Buckets(),
    Triples(),
    *map(Unweighted, (*BOTH, "softmax")),
    Quads16(),
    Wide16(),
    Sum16(),
    *map(Halfbytes16, ("int4", "pot4")),
    *map(Int16Affine, ("int8", "int4", "pot4", "int16")),
    Int16Affine("int16", words=1),
    *map(Int16, BOTH),
    Curves(),
    Softmax16(),
)

__all__ = ["KERNELS", "Kernel", "Packed"]
