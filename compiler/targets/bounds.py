# SPDX-License-Identifier: Apache-2.0
"""What the C header says of a certificate: plain numbers, so that targets need not know certify/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np

from ..graph import Value


@dataclass(frozen=True)
class CertifiedError:
    """Largest certified error in units of 1e-9, rounded up, and the exact ends of the box per input.

    fewer: run-time activation bits below 8 -> error, for those that were certified. grid: inputs are integers
    already, and what rounding a real input to one costs is not in the error. single: the float network's own
    rounding in float32 is in it.
    """

    error_e9: int
    fewer: Mapping[int, int]
    lower: Mapping[str, Sequence[Fraction]]
    upper: Mapping[str, Sequence[Fraction]]
    grid: bool = False
    single: bool = False

    def float_ends(self, name: str) -> tuple[list[float], list[float]]:
        """The box as float32 numbers, rounded inwards: a float32 lies in the box iff it lies between them."""
        return [_up(x) for x in self.lower[name]], [-_up(-x) for x in self.upper[name]]

    def integer_ends(self, value: Value) -> tuple[list[int], list[int]]:
        """First and last integer per element whose real value lies in the box (first > last: none does)."""
        assert value.quant is not None
        scale, zero = value.quant.scale[0], value.quant.zero
        ends = zip(self.lower[value.name], self.upper[value.name], strict=True)
        least, most = value.ends
        spans = [(max(ceil(a / scale) + zero, least), min(floor(b / scale) + zero, most)) for a, b in ends]
        spans = [(low, high) if low <= high else (most, least) for low, high in spans]
        return [low for low, _ in spans], [high for _, high in spans]


def _up(x: Fraction) -> float:
    """The smallest float32 that is not below x."""
    near = np.float32(float(x))
    while Fraction(float(near)) < x:
        near = np.nextafter(near, np.float32(np.inf))
    while Fraction(float(np.nextafter(near, np.float32(-np.inf)))) >= x:
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near)
