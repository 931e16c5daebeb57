# SPDX-License-Identifier: Apache-2.0
"""A domain that writes down the words an op's meaning uses, instead of computing with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops.base import Op


@dataclass(frozen=True)
class Ref:
    """Stands for a tensor: position >= 0 is a recorded word, -1 - i is the op's input i."""

    position: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Word:
    """One recorded word: its name, the tensors it reads, its other arguments, its result's shape."""

    name: str
    reads: tuple[int, ...]
    args: tuple[Any, ...]
    shape: tuple[int, ...]


class Recorder:
    """Every word of ops/base.py's Domain, recorded."""

    def __init__(self) -> None:
        self.words: list[Word] = []

    def gather(self, x: Ref, index: NDArray[np.int64], pad: float) -> Ref:
        return self._put("gather", (x,), (index, pad), index.shape)

    def reshape(self, x: Ref, shape: tuple[int, ...]) -> Ref:
        return self._put("reshape", (x,), (), shape)

    def concat(self, xs: Sequence[Ref], axis: int) -> Ref:
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return self._put("concat", tuple(xs), (axis,), tuple(shape))

    def truncate(self, x: Ref, bits: int) -> Ref:
        return self._put("truncate", (x,), (bits,), x.shape)

    def affine(self, x: Ref, weights: Any, bias: Any, zero: int) -> Ref:
        return self._put("affine", (x,), (weights, bias, zero), (*weights.shape[:2], x.shape[2]))

    def add(self, a: Ref, b: Ref, ma: int, mb: int, za: int, zb: int) -> Ref:
        return self._put("add", (a, b), (ma, mb, za, zb), a.shape)

    def multiply(self, a: Ref, b: Ref, za: int, zb: int) -> Ref:
        return self._put("multiply", (a, b), (za, zb), a.shape)

    def clip(self, x: Ref, lo: float, hi: float) -> Ref:
        return self._put("clip", (x,), (lo, hi), x.shape)

    def requantise(self, x: Ref, *how: Any) -> Ref:
        return self._put("requantise", (x,), how, x.shape)

    def max(self, x: Ref, axis: int) -> Ref:
        return self._put("max", (x,), (axis,), (*x.shape[:axis], *x.shape[axis + 1 :]))

    def function(self, x: Ref, fn: Any) -> Ref:
        return self._put("function", (x,), (fn,), x.shape)

    def table(self, x: Ref, entries: NDArray[np.int64], first: int) -> Ref:
        return self._put("table", (x,), (entries, first), x.shape)

    def softmax(self, x: Ref, *how: Any) -> Ref:
        return self._put("softmax", (x,), how, x.shape)

    def argmax(self, x: Ref, last: int, offset: int) -> Ref:
        return self._put("argmax", (x,), (last, offset), x.shape[:-1] or (1,))

    def _put(self, name: str, reads: tuple[Ref, ...], args: tuple[Any, ...], shape: tuple[int, ...]) -> Ref:
        self.words.append(Word(name, tuple(ref.position for ref in reads), args, tuple(shape)))
        return Ref(len(self.words) - 1, tuple(shape))


def record(op: Op, shapes: list[tuple[int, ...]]) -> tuple[list[Word], int]:
    """The words of an op's meaning for inputs of these shapes, and the position of its result."""
    recorder = Recorder()
    result = op.meaning(recorder, *(Ref(-1 - i, shape) for i, shape in enumerate(shapes)))
    assert isinstance(result, Ref)
    return recorder.words, result.position
