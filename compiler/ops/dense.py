# SPDX-License-Identifier: Apache-2.0
"""Fully connected layer: ONNX Gemm, and MatMul with an optional Add of a constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .base import Array, Domain, OnnxNode, Op, Sample, Scaled, Shape, Unsupported


@dataclass(frozen=True, eq=False)
class Dense(Op):
    """y[o] = b[o] + sum over i of w[o, i] * (x[i] - zero); weights (O, I), bias (O,)."""

    weights: Array
    bias: Array
    zero: int = 0
    bits: int = 8

    onnx = ("Gemm", "MatMul")
    accumulates = True
    weighted = True

    @classmethod
    def parse(cls, node: OnnxNode) -> Dense:
        weights = node.constants[1]
        if weights is None:
            raise Unsupported("a second factor that is not constant", "weights as an initializer")
        if weights.ndim != 2:
            raise Unsupported(f"weights of shape {weights.shape}", "a matrix")
        matrix = weights if node.get("transB", 0) else weights.T
        if node.shapes[0] != (matrix.shape[1],):
            raise Unsupported(
                f"input of shape {node.shapes[0]} without batch", f"a vector of {matrix.shape[1]}"
            )
        bias = node.constants[2] if len(node.constants) > 2 else None
        if bias is None:
            bias = np.zeros(matrix.shape[0])
        alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
        if (alpha, beta) != (1.0, 1.0):  # float32 times float32: exact
            matrix, bias = matrix.astype(np.float64) * alpha, bias.astype(np.float64) * beta
        return cls(np.ascontiguousarray(matrix), np.broadcast_to(np.ravel(bias), matrix.shape[:1]).copy())

    def shape(self, *shapes: Shape) -> Shape:
        return (self.weights.shape[0],) if shapes == ((self.weights.shape[1],),) else ()

    def meaning(self, d: Domain, *xs: Any) -> Any:
        column = d.reshape(xs[0], (1, self.weights.shape[1], 1))
        if self.bits < 8:
            column = d.truncate(column, self.bits)
        return d.reshape(
            d.affine(column, self.weights[None], self.bias[None], self.zero), self.weights.shape[:1]
        )

    def macs(self) -> int:
        return int(self.weights.size)

    @classmethod
    def samples(cls) -> Iterator[Sample]:
        rng = np.random.default_rng(2)
        for code, inputs in (("int8", 7), ("int4", 11), ("pot4", 9), ("pool64", 24)):
            op = cls(rng.normal(0, 0.3, (5, inputs)), rng.normal(0, 0.3, 5))
            unit, out = Scaled(Fraction(1, 64), -7, -128, 127), Scaled(Fraction(3, 128), 9, -128, 127)
            yield Sample(op, ((inputs,),), (unit,), out, code)
