# SPDX-License-Identifier: Apache-2.0
"""The words of ops/base.py as ONNX operators: integers as float64 that nothing rounds, reals as float32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError

FLOAT, DOUBLE = "float32", "float64"
Array = NDArray[Any]


class Sink(ABC):
    """Where operators go; names stand for tensors."""

    @abstractmethod
    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append an operator; the name of its result."""

    @abstractmethod
    def constant(self, array: NDArray[Any]) -> str:
        """The name of a constant."""

    @abstractmethod
    def cast(self, name: str, kind: str) -> str:
        """The tensor in another type."""


@dataclass(frozen=True)
class Ref:
    """A tensor of the file; its shape without the batch axis."""

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class Words:
    """A domain (ops/base.py) whose values are tensors of an ONNX file."""

    def __init__(self, out: Sink, kind: str) -> None:
        self.out, self.kind = out, kind

    def put(self, shape: tuple[int, ...], op: str, *inputs: Any, **attributes: Any) -> Ref:
        """An operator on tensors (Ref) and constants (numbers, arrays)."""
        names = [
            x.name if isinstance(x, Ref) else self.out.constant(np.asarray(x, self.kind)) for x in inputs
        ]
        return Ref(self.out.node(op, names, **attributes), tuple(shape), self.kind)

    def less(self, x: Ref, zero: float) -> Ref:
        """x - zero."""
        return self.put(x.shape, "Sub", x, zero) if zero else x

    def gather(self, x: Ref, index: NDArray[np.int64], pad: float) -> Ref:
        flat = self.reshape(x, (x.size,))
        if (index < 0).any():
            wide = [flat.name, self.out.constant(np.array([0, 0, 0, 1])), self.out.constant(self.number(pad))]
            flat = Ref(self.out.node("Pad", wide, mode="constant"), (x.size + 1,), self.kind)
        at = self.out.constant(np.where(index >= 0, index, x.size).astype(np.int64))
        return Ref(self.out.node("Gather", [flat.name, at], axis=1), index.shape, self.kind)

    def number(self, value: float) -> Array:
        """A constant without axes."""
        return np.asarray(value, self.kind)

    def reshape(self, x: Ref, shape: tuple[int, ...]) -> Ref:
        if x.shape == tuple(shape):
            return x
        target = self.out.constant(np.array([-1, *shape], np.int64))
        return Ref(self.out.node("Reshape", [x.name, target]), tuple(shape), self.kind)

    def concat(self, xs: Sequence[Ref], axis: int) -> Ref:
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return self.put(tuple(shape), "Concat", *xs, axis=axis + 1)

    def truncate(self, x: Ref, bits: int) -> Ref:
        step = 1 << (8 - bits)
        floor = self.put(x.shape, "Floor", self.put(x.shape, "Mul", x, 1 / step))
        return self.put(x.shape, "Mul", floor, step)

    def affine(self, x: Ref, weights: Array, bias: Array, zero: int) -> Ref:
        shape = (*weights.shape[:2], x.shape[2])
        sums = self.put(shape, "MatMul", weights, self.less(x, zero))
        return self.put(shape, "Add", sums, bias[..., None]) if np.any(bias) else sums

    def add(self, a: Ref, b: Ref, ma: int, mb: int, za: int, zb: int) -> Ref:
        terms = [
            self.put(x.shape, "Mul", self.less(x, z), m) if m != 1 else self.less(x, z)
            for x, m, z in ((a, ma, za), (b, mb, zb))
        ]
        return self.put(a.shape, "Add", *terms)

    def multiply(self, a: Ref, b: Ref, za: int, zb: int) -> Ref:
        return self.put(a.shape, "Mul", self.less(a, za), self.less(b, zb))

    def clip(self, x: Ref, lo: float, hi: float) -> Ref:
        if (lo, hi) == (0.0, np.inf):
            return self.put(x.shape, "Relu", x)
        if np.isfinite(lo):
            x = self.put(x.shape, "Max", x, lo)
        return self.put(x.shape, "Min", x, hi) if np.isfinite(hi) else x

    def max(self, x: Ref, axis: int) -> Ref:
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        return self.put(shape, "ReduceMax", x, axes=[axis + 1], keepdims=0)

    def table(self, x: Ref, entries: NDArray[np.int64], first: int) -> Ref:
        at = self.out.cast(self.less(x, first).name, "int64")
        values = self.out.constant(entries.astype(self.kind))
        return Ref(self.out.node("Gather", [values, at]), x.shape, self.kind)

    def softmax(self, _x: Ref, *_how: Any) -> Ref:
        raise CompileError("--export-merged", "a softmax inside the network", "one as the last op only")

    def function(self, x: Ref, fn: Any) -> Ref:
        """The float function of a table, in operators that opset 13 has."""
        shape, name = x.shape, type(fn).__name__
        match name:
            case "Sigmoid" | "Tanh" | "Erf" | "Softplus":
                return self.put(shape, name, x)
            case "HardSigmoid" | "LeakyRelu" | "Elu":
                more = {"beta": fn.beta} if name == "HardSigmoid" else {}
                return self.put(shape, name, x, alpha=fn.alpha, **more)
            case "HardSwish":
                return self.put(shape, "Mul", x, self.put(shape, "HardSigmoid", x, alpha=1 / 6, beta=0.5))
            case "Trunc":
                return self.put(shape, "Add", self.put(shape, "Mul", x, fn.factor), fn.offset)
            case "Sign":  # of floor(x), a step from -1 to 0: x tells 0 from what is below, however near
                step = self.put(shape, "Max", self.put(shape, "Min", self.put(shape, "Floor", x), 0.0), -1.0)
                twice = self.put(shape, "Mul", step, 2 * fn.scale)
                return self.put(shape, "Add", twice, fn.scale)
            case "Gelu":
                return self._gelu(x, tanh=fn.approximate == "tanh")
            case _:
                raise CompileError("--export-merged", f"the function {name}", "another one")

    def _gelu(self, x: Ref, *, tanh: bool) -> Ref:
        """x / 2 * (1 + erf(x / sqrt 2)), or the formula with tanh."""
        shape = x.shape
        if tanh:
            cube = self.put(shape, "Mul", x, self.put(shape, "Mul", x, x))
            inner = self.put(shape, "Add", x, self.put(shape, "Mul", cube, 0.044715))
            bent = self.put(shape, "Tanh", self.put(shape, "Mul", inner, np.sqrt(2 / np.pi)))
        else:
            bent = self.put(shape, "Erf", self.put(shape, "Mul", x, np.sqrt(0.5)))
        return self.put(shape, "Mul", self.put(shape, "Mul", x, 0.5), self.put(shape, "Add", bent, 1.0))
