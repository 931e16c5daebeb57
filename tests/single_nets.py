# SPDX-License-Identifier: Apache-2.0
"""The float network in float32: by numpy in several orders of summation, fused or not, with and without
numbers below 2^-126; and the ranges that prover and checker give for it at single inputs."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np

from tinybound.certify.lockstep import entries, lockstep, walk
from tinybound.checker.check import KINDS, _domain
from tinybound.checker.files import read_npz, strict_json
from tinybound.checker.float_net import read_float
from tinybound.checker.integer_net import read_network
from tinybound.checker.pairs import pair
from tinybound.domains.exact import Exact
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_interval import PairInterval
from tinybound.domains.pair_product import PairProduct
from tinybound.domains.pair_zonotope import PairZonotope
from tinybound.passes.run_time_bits import has_bits

MAKES = {"interval": PairInterval, "zonotope": PairZonotope, "product": PairProduct, "crown": PairCrown}
ORDERS = ("forward", "backward", "pairs", "blocks", "fused")


def nearest(value: Fraction) -> np.float32:
    """An exact number in float32, ties to even (Fractions convert to float64 exactly rounded)."""
    wide = float(value)
    low = np.float32(wide)
    if Fraction(float(low)) == Fraction(wide) or abs(Fraction(wide) - value) == 0:
        return low
    around = [np.nextafter(low, np.float32(-np.inf)), low, np.nextafter(low, np.float32(np.inf))]
    gaps = [abs(Fraction(float(v)) - value) for v in around]
    best = [v for v, gap in zip(around, gaps, strict=True) if gap == min(gaps)]
    return best[0] if len(best) == 1 else next(v for v in best if int(v.view(np.int32)) % 2 == 0)


class Single(Exact):
    """float32; `flush`: what is below 2^-126 becomes 0."""

    def __init__(self, order: str, *, flush: bool = False) -> None:
        self.order, self.flush = order, flush

    def kept(self, x):
        x = np.asarray(x, np.float32)
        return np.where(np.abs(x) < 2.0**-126, np.float32(0), x) if self.flush else x

    def affine(self, x, weights, bias, zero):
        w, b = self.kept(weights), self.kept(bias)
        if self.order == "fused":
            return self._fused(w, self.kept(x), b)
        terms = self.kept(w[..., None] * self.kept(x)[:, None])  # (G, M, K, P)
        terms = list(np.moveaxis(np.concatenate([terms, self._row(b, terms)], axis=2), 2, 0))
        if self.order == "backward":
            terms.reverse()
        if self.order == "pairs":
            while len(terms) > 1:
                terms = [self.kept(sum(terms[i : i + 2])) for i in range(0, len(terms), 2)]
            return terms[0]
        if self.order == "blocks":  # as vector units have it
            terms = [self._sum(terms[i::4]) for i in range(min(4, len(terms)))]
        return self._sum(terms)

    def _row(self, b, terms):
        return np.broadcast_to(b[..., None, None], (*terms.shape[:2], 1, terms.shape[3]))

    def _sum(self, terms):
        out = terms[0]
        for term in terms[1:]:
            out = self.kept(out + term)
        return out

    def _fused(self, w, x, b):
        out = np.zeros((*w.shape[:2], x.shape[2]), np.float32)
        for g, m, p in np.ndindex(out.shape):
            acc = b[g, m]
            for k in range(w.shape[2]):
                exact = Fraction(float(w[g, m, k])) * Fraction(float(x[g, k, p])) + Fraction(float(acc))
                acc = self.kept(nearest(exact))
            out[g, m, p] = acc
        return out

    def add(self, a, b, ma, mb, za, zb):
        return self.kept(self.kept(a) * np.float32(ma) + self.kept(b) * np.float32(mb))

    def multiply(self, a, b, za, zb):
        return self.kept(self.kept(a) * self.kept(b))

    def clip(self, x, lo, hi):
        return np.clip(x, np.float32(lo), np.float32(hi))

    def function(self, x, fn):
        return self.kept(fn(np.asarray(x, np.float64)))


def prover(build, *, single=True):
    """point -> kind -> the box (6, ...) of the output."""
    both = lockstep(build.float_graph, build.graph, single=single)
    (name,), (out,) = build.graph.inputs, build.graph.outputs

    def found(x):
        at = entries(both, build.graph, {name: x}, {name: x})
        boxes = {}
        for kind, make in MAKES.items():
            domain = make()
            states = {i: domain.ranges(state) for i, state in walk(both, domain, at)}
            box = states[both.values[out]]
            boxes[kind] = np.stack([box.lx, box.ux, box.ly, box.uy, box.ld, box.ud])
        return boxes

    return found


def checker(build, *, single=True):
    """The same, by the checker."""
    files = {n: (build.folder / n).read_bytes() for n in ("float.onnx", "network.json", "network.npz")}
    arrays = read_npz(files["network.npz"], "")
    whole = read_network(strict_json(files["network.json"], ""), arrays, 8 if has_bits(build.graph) else None)
    steps = pair(read_float(files["float.onnx"]), whole)
    document = json.loads((build.folder / "certificate.json").read_text())
    ((name, entry),) = _domain(document["domain"], whole).items()

    def found(x):
        exact = tuple(Fraction(v) for v in x.ravel().tolist())
        at = {name: replace(entry, lower=exact, upper=exact)}
        return {
            kind: dict(make(single=single).run(steps, at))[whole.outputs[0]] for kind, make in KINDS.items()
        }

    return found


SIDES = {"prover": prover, "checker": checker}
