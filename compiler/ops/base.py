# SPDX-License-Identifier: Apache-2.0
"""What every op says about itself. An op is written once and read by domains (numbers, ranges, bounds)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..ranges import INT8, INT16

Shape = tuple[int, ...]
Array = NDArray[Any]
MAX_ELEMENTS = 1 << 24  # of one tensor: beyond every machine that the back ends know


class Domain(Protocol):
    """The words in which meanings are written; each domain (domains/) gives them its own sense.

    x may be numbers, ranges or bounds; indices, weights and parameters are numpy arrays.
    """

    def gather(self, x: Any, index: NDArray[np.int64], pad: float) -> Any: ...
    def reshape(self, x: Any, shape: Shape) -> Any: ...
    def concat(self, xs: Sequence[Any], axis: int) -> Any: ...
    def truncate(self, x: Any, bits: int) -> Any: ...
    def affine(self, x: Any, weights: Array, bias: Array, zero: int) -> Any: ...
    def add(self, a: Any, b: Any, ma: int, mb: int, za: int, zb: int) -> Any: ...
    def multiply(self, a: Any, b: Any, za: int, zb: int) -> Any: ...
    def clip(self, x: Any, lo: float, hi: float) -> Any: ...
    def requantise(
        self,
        x: Any,
        m: NDArray[np.int64],
        s: NDArray[np.int64],
        zero_in: int,
        zero: int,
        lo: int,
        hi: int,
        mode: str,
    ) -> Any: ...
    def max(self, x: Any, axis: int) -> Any: ...
    def function(self, x: Any, fn: Any) -> Any: ...
    def table(self, x: Any, entries: NDArray[np.int64], first: int) -> Any: ...
    def softmax(self, x: Any, table: NDArray[np.int64], *quotient: int) -> Any: ...
    def argmax(self, x: Any, last: int, offset: int) -> Any: ...


@dataclass(frozen=True)
class OnnxNode:
    """A float ONNX node as an op's `parse` sees it: attributes and constants as Python and numpy values."""

    name: str
    op_type: str
    attributes: Mapping[str, Any]
    shapes: Sequence[Shape]
    constants: Sequence[Array | None]
    opset: int

    def get(self, name: str, default: Any) -> Any:
        """Attribute or its default."""
        return self.attributes.get(name, default)


class Unsupported(Exception):
    """An op cannot take a node: what was found, and a remedy. The front end collects these."""

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


@dataclass(frozen=True)
class Scaled:
    """Quantisation of one stored value as `lower` sees it: exact scale, zero point, storage range."""

    scale: Fraction
    zero: int
    lo: int
    hi: int

    @property
    def reals(self) -> tuple[float, float]:
        """The least and the largest real number that it represents."""
        return float(self.scale * (self.lo - self.zero)), float(self.scale * (self.hi - self.zero))

    def nearest(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The nearest real number that it represents, element by element."""
        steps = np.clip(np.rint(x / float(self.scale)) + self.zero, self.lo, self.hi)
        return np.asarray((steps - self.zero) * float(self.scale))

    @property
    def wide(self) -> bool:
        """Whether its integers need 16 bits."""
        return not INT8[0] <= self.lo <= self.hi <= INT8[1]

    @property
    def dyadic(self) -> bool:
        """Whether the scale is a power of two."""
        top, bottom = self.scale.numerator, self.scale.denominator
        return top & (top - 1) == 0 == bottom & (bottom - 1)

    @property
    def whole(self) -> Scaled:
        """The same scale, with all integers of 8 bits or, where it needs them, of 16."""
        lo, hi = INT16 if self.wide else INT8
        return replace(self, lo=lo, hi=hi)

    @property
    def reach(self) -> int:
        """How far apart integers of its word can be."""
        return self.whole.hi - self.whole.lo


@dataclass(frozen=True)
class IntegerWeights:
    """Integers in the op's weight shape, exact scale per output channel, and the integer bias if given."""

    integers: NDArray[np.int64]
    scales: tuple[Fraction, ...]
    code: str = "int8"
    bias: NDArray[np.int64] | None = None


class Op(ABC):
    """One operation. Subclasses are frozen dataclasses with arrays and scalars as fields."""

    onnx: ClassVar[tuple[str, ...]] = ()  # ONNX op types that `parse` takes
    accumulates: ClassVar[bool] = False  # the output is a wide sum that one activation narrows
    activates: ClassVar[bool] = False  # may follow an accumulator
    wide: ClassVar[bool] = False  # the accumulator may need 64 bits
    spatial: ClassVar[bool] = False  # wants (C, H, W) stored channels-last
    weighted: ClassVar[bool] = False  # has `weights` that an encoding stores

    @classmethod
    def parse(cls, node: OnnxNode) -> Op:
        """The float op for an ONNX node; raises Unsupported."""
        raise Unsupported(f"op {node.op_type}")

    @abstractmethod
    def shape(self, *shapes: Shape) -> Shape:
        """Output shape for input shapes (no batch axis)."""

    @abstractmethod
    def meaning(self, d: Domain, *xs: Any) -> Any:
        """The op's mathematics in the words of a domain."""

    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return 0

    def view(self) -> dict[str, Any]:
        """Names that the op's templates may use, beside shapes and file names."""
        return {}

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        """Small integer cases on which every executor, range and bound is tested."""
        return iter(())


@dataclass(frozen=True)
class Sample:
    """An integer op with its float twin, input shapes, input scales, and the output it is requantised to."""

    float_op: Op
    shapes: tuple[Shape, ...]
    inputs: tuple[Scaled, ...]
    output: Scaled
    code: str = "int8"
