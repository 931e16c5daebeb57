# SPDX-License-Identifier: Apache-2.0
"""Small dense networks cut into pieces, and the exact differences that their bounds must hold."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from pair_nets import NONE, RELU, RELU6, Pair, Rational, Sketch, fractions, reals

from tinybound.certify.cells import Cells, Numpy
from tinybound.certify.chain import Chain, chain_of
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.pieces import Piece, Whole
from tinybound.checker import cells as checker_cells
from tinybound.checker import chain as checker_chain
from tinybound.checker import cover
from tinybound.checker.envelopes import Entry
from tinybound.checker.layers import Meaning
from tinybound.checker.pairs import Rounding
from tinybound.domains.exact import run
from tinybound.ops.clip import Clip

MODES = ("half-even", "tflite-single", "tflite-double")


@dataclass(frozen=True)
class Case:
    """A network with its box cut into pieces."""

    pair: Pair
    chain: Chain
    whole: Whole
    pieces: list[Piece]


def case(seed: int) -> Case:
    """Networks of 1 to 3 inputs; ties (scales that are powers of two), saturation, odd clips by the seed."""
    rng = np.random.default_rng(seed)
    n, two = 1 + seed % 3, seed % 2 == 0
    lower, upper = rng.uniform(-1, 0, n), rng.uniform(0, 1, n)
    if two:  # ends on borders of cells
        lower, upper = np.floor(lower * 64) / 64 - 1 / 256, np.ceil(upper * 64) / 64 + 1 / 256
    s = Sketch(seed, (n,), lower=lower, upper=upper, two=two, mode=MODES[seed // 2 % 3])
    h = s.dense("x", 5, [RELU, RELU6, Clip(-0.3, 0.4), NONE][seed % 4])
    h = s.dense(h, 4, [RELU, Clip(0.1, 0.5)][seed // 4 % 2]) if seed % 5 else h
    pair = s.build(
        s.dense(h, 2, NONE),
        squeeze=[0.5, 1.2][seed % 2],
        top=[127, 7][seed // 3 % 2],
        reach=[0.6, 12.0, 40.0][seed % 3],  # of one input, it saturates; of more, a side has few cells
    )
    return _cut(pair, rng, 24)


def broad(neurons: int, count: int) -> Case:
    """Two layers of so many neurons, so many pieces."""
    s = Sketch(0, (2,), lower=-np.ones(2), upper=np.ones(2))
    pair = s.build(s.dense(s.dense(s.dense("x", neurons), neurons), 1, NONE))
    return _cut(pair, np.random.default_rng(0), count)


def _cut(pair: Pair, rng: np.random.Generator, count: int) -> Case:
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    chain = chain_of(both, [pair.whole.outputs[0]])
    whole = Whole(both, at)
    return Case(pair, chain, whole, cut(whole, rng, count))


def cut(whole: Whole, rng: np.random.Generator, count: int) -> list[Piece]:
    """The box in `count` pieces, cut on borders of cells and inside them."""
    pieces, scale = [whole.root], whole.entries[0].units.scale
    while len(pieces) < count:
        piece = pieces.pop(int(rng.integers(len(pieces))))
        i = int(rng.integers(len(piece.lower)))
        low, high = piece.lower[i], piece.upper[i]
        place = low + (high - low) * Fraction(int(rng.integers(1, 8)), 8)
        border = (round(place / scale) + Fraction(1, 2)) * scale
        place = border if rng.integers(3) and low < border < high else place
        pieces += whole.cut(piece, i, place) if low < place < high else [piece]
    return pieces


def samples(case: Case, rng: np.random.Generator, count: int) -> list[tuple[Fraction, ...]]:
    """Exact points of the box: its corners, borders of cells, ends of pieces, anything between."""
    scale, root, found = case.whole.entries[0].units.scale, case.whole.root, []
    for _ in range(count):
        point = []
        for i, (low, high) in enumerate(zip(root.lower, root.upper, strict=True)):
            inside = low + (high - low) * Fraction(int(rng.integers(0, 1025)), 1024)
            border = (round(inside / scale) + Fraction(1, 2)) * scale
            piece = case.pieces[int(rng.integers(len(case.pieces)))]
            near = border + scale * Fraction(int(rng.integers(-1, 2)), 1 << 40)
            choice = [low, high, border, near, piece.lower[i], piece.upper[i], inside][int(rng.integers(7))]
            point.append(min(max(choice, low), high))
        found.append(tuple(point))
    return found


def integers(case: Case, point: tuple[Fraction, ...]) -> np.ndarray:
    """The input quantiser, by the law."""
    entry = case.whole.entries[0]
    zero = entry.units.zero
    q = [min(max(round(v / entry.units.scale) + zero, entry.lo), entry.hi) for v in point]
    return np.array(q, np.int64)


def difference(case: Case, point: tuple[Fraction, ...], q: np.ndarray) -> list[Fraction]:
    """|integer - float|, exact."""
    name = case.pair.whole.outputs[0]
    x = {"x": np.array([*point, None], object)[:-1]}
    real = run(case.pair.real, fractions(x), Rational())[name]
    y = reals(case.pair.whole.values[name], run(case.pair.whole, {"x": q})[name])
    return [abs(a - b) for a, b in zip(y, real, strict=True)]


def wrong(case: Case, bounds: np.ndarray, seed: int = 0, count: int = 60) -> list[str]:
    """What is not as it must be: a point that no piece answers for, a difference above a piece's bound."""
    found, rng = [], np.random.default_rng(seed)
    exact = [[Fraction(float(v)) for v in row] for row in bounds]
    for point in samples(case, rng, count):
        q = integers(case, point)
        gaps, answers = difference(case, point, q), 0
        for piece, bound in zip(case.pieces, exact, strict=True):
            inside = all(a <= v <= b for a, v, b in zip(piece.lower, point, piece.upper, strict=True))
            if inside and all(a <= n <= b for a, n, b in zip(piece.first, q, piece.last, strict=True)):
                answers += 1
                if any(gap > most for gap, most in zip(gaps, bound, strict=True)):
                    found.append(f"bound below {[float(g) for g in gaps]}")
        if not answers:
            found.append("no piece answers")
    return found


def prover(case: Case, kernel=Numpy) -> np.ndarray:
    """Bounds of the pieces (pieces, outputs)."""
    return cells(case, kernel).bounds(case.pieces).bound


def cells(case: Case, kernel=Numpy) -> Cells:
    return Cells(case.chain, case.whole.entries[0], case.whole.root, kernel(case.chain))


def points_of(case: Case) -> Case:
    """The same network on pieces that are points: nothing but rounding lies between bound and truth."""
    rng, pieces = np.random.default_rng(1), []
    for point in samples(case, rng, 40):
        q = tuple(int(n) for n in integers(case, point))
        pieces.append(Piece(point, point, q, q))
    return Case(case.pair, case.chain, case.whole, pieces)


def wrong_at_points(case: Case, bounds: np.ndarray) -> int:
    """How many of points_of lie beyond their bound."""
    count = 0
    for piece, bound in zip(case.pieces, bounds, strict=True):
        gaps = difference(case, piece.lower, np.array(piece.first))
        count += any(gap > Fraction(float(most)) for gap, most in zip(gaps, bound, strict=True))
    return count


def checker(case: Case, claim: np.ndarray | float = -np.inf) -> np.ndarray:
    """The checker's bounds of the pieces as of a deep network, no more precise than the claim needs."""
    entry, form = case.whole.entries[0], checker_form(case)
    shape = (len(entry.lower),)
    root = Entry(entry.lower, entry.upper, entry.units.scale, entry.units.zero, shape)
    rows = []
    for piece in case.pieces:
        own = Entry(piece.lower, piece.upper, root.scale, root.zero, shape)
        leaf = cover.Leaf({"x": own}, piece.first, piece.last)
        claims = np.broadcast_to(claim, len(form.pairs[-1].w))
        rows.append(checker_cells.enumerated(form, root, [leaf], claims, single=case.chain.single))
    return np.array(rows)


def checker_form(case: Case) -> checker_chain.Chain:
    """The network as the checker has it."""
    pairs = []
    for layer in case.chain.layers:
        then = Rounding(
            layer.m, layer.s, layer.b, layer.zero, layer.lo, layer.hi, layer.scale,
            (layer.a, layer.c), None, (0, 0), layer.mode,
        )  # fmt: skip
        extra = layer.rounded.count, layer.rounded.size[:, None], layer.rounded.gain[:, None]
        sums = layer.w, layer.b, layer.counts, layer.bias, layer.zero_in
        pairs.append(checker_chain.Pair(*sums, then, extra))
    units = case.chain.units
    return checker_chain.Chain(pairs, Meaning(units.scales, units.zero, -128, 127))
