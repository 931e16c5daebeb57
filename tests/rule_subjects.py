# SPDX-License-Identifier: Apache-2.0
"""What mutated rules are tried on: small networks, each with its exact values and ways to compute ranges."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from cell_nets import Case, case, difference, integers, samples
from pair_nets import DOMAINS, Pair, Rational, fractions, points, ranges, reals
from rule_mutants import truth
from single_nets import ORDERS, Single
from test_pair_joint import cases, too_small, worst_of
from test_single import single_case, through

from tinybound.checker import backward, single
from tinybound.checker.check import KINDS, _domain
from tinybound.checker.crown import Crown
from tinybound.checker.files import read_npz, strict_json
from tinybound.checker.float_net import read_float
from tinybound.checker.forms import Pad
from tinybound.checker.integer_net import read_network
from tinybound.checker.pairs import Affine
from tinybound.checker.pairs import pair as paired
from tinybound.domains import pair_back, pair_crown, pair_single, pair_window
from tinybound.domains.exact import Exact, run
from tinybound.domains.pair_box import Box
from tinybound.domains.pair_float import above
from tinybound.domains.pair_itself import Linear
from tinybound.passes.run_time_bits import with_bits


@dataclass(frozen=True)
class Subject:
    """`runs` compute ranges, the quickest first; `left` says whether those lose an exact value."""

    runs: tuple[Callable[[], Any], ...]
    left: Callable[[Any], bool]

    def shows(self) -> bool:
        """Whether some run loses an exact value, or ends in numbers that are none or in empty ranges."""
        for ranges_of in self.runs:
            try:
                if self.left(ranges_of()):
                    return True
            except (RuntimeWarning, OverflowError, ValueError):  # ValueError: the least of no entries
                return True
        return False


def together(parts: Sequence[Subject]) -> Subject:
    """Several subjects as one."""
    runs = tuple((lambda part=part: part.shows()) for part in parts)
    return Subject(runs, bool)


def at_point(network: Pair) -> Pair:
    """A box of one point: nothing is left that could hide an error."""
    network.upper["x"][...] = network.lower["x"]
    return network


def of_domains(network: Pair) -> Subject:
    """The four domains on one network."""
    exact = truth(network, 1)
    runs = tuple((lambda make=make: ranges(network, make())) for make in DOMAINS.values())
    return Subject(runs, exact.left)


def of_joint() -> Subject:
    """Elements bounded together by the prover: against all corners, and the exact values of networks."""
    corners = list(cases(40))
    return Subject(
        (lambda: any(worst_of(a, m)[0] < true for a, m, true in corners), lambda: too_small(range(2)) > 0),
        bool,
    )


def of_together(build: Any) -> Subject:
    """The same by the checker; of a network, what of d is not D / 2 against what a row pays for it."""
    files = {n: (build.folder / n).read_bytes() for n in ("float.onnx", "network.json", "network.npz")}
    whole = read_network(strict_json(files["network.json"], ""), read_npz(files["network.npz"], ""), None)
    steps = paired(read_float(files["float.onnx"]), whole)
    at = _domain(json.loads((build.folder / "certificate.json").read_text())["domain"], whole)
    pair = Pair(build.float_graph, build.graph, build.domain.lower, build.domain.upper)
    corners, exact = list(cases(40)), []
    for i, x in enumerate(points(pair, np.random.default_rng(0), 20)):
        real, integers_of = run(pair.real, fractions(x), Rational(i)), run(pair.whole, pair.quantise(x))
        exact.append(
            {n: reals(pair.whole.values[n], integers_of[n]) - real[n] for n in real if n in integers_of}
        )

    def over() -> bool:
        rng, crown, seen, tried = np.random.default_rng(0), Crown(), 0, 0
        for value, _ in crown.run(steps, at):
            groups = [node.together for node in crown.tape.nodes[seen:] if node.together is not None]
            seen = len(crown.tape.nodes)
            for group in groups:
                before = build.graph.producer(value).inputs[0]
                for found in exact:
                    rest = np.array([float(v) for v in (found[value] - found[before] / 2).ravel()[group.at]])
                    rows = np.concatenate([np.eye(rest.size), rng.random((4, rest.size))]) * np.sign(rest)
                    tried += len(rows)
                    if (rows @ rest > group.most(rows.T) * (1 + 1e-12)).any():
                        return True
        assert tried > 20
        return False

    return Subject(
        (lambda: any(worst_of(a, m)[1] < true * (1 - 1e-12) for a, m, true in corners), over), bool
    )


def two_tensors() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Ranges (6, elements) of two tensors that know nothing of each other, and x, y of every two values."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2, 12, 5))
    values = [np.stack([x[i], y[i], y[i] - x[i]]) for i in (0, 1)]
    boxes = [np.stack([end for v in each for end in (v.min(axis=0), v.max(axis=0))]) for each in values]
    return boxes, [values[0][:2, :, None], values[1][:2, None]]


def outside(box: Any, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether some x, y or y - x (any, any, elements) lies outside of (nearly) these ranges."""
    sides = zip(box[::2], box[1::2], (x, y, y - x), strict=True)
    return any(bool((v < low - 1e-12).any() or (v > high + 1e-12).any()) for low, high, v in sides)


def of_differences() -> Subject:
    """What the prover knows of a - b, before a maximum."""
    (a, b), (va, vb) = two_tensors()
    return Subject(
        (lambda: pair_crown.difference(Box(*a), Box(*b)),),
        lambda box: outside([box.lx, box.ux, box.ly, box.uy, box.ld, box.ud], *(va - vb)),
    )


def of_larger() -> Subject:
    """The checker's maximum of two: its ranges, and those that rows carried back from it prove."""
    (a, b), (va, vb) = two_tensors()

    def run_larger() -> list[np.ndarray]:
        crown = Crown()
        places = [crown.tape.root(box) for box in (a, b)]
        box, place = crown._larger(a, places[0], b, places[1])
        return [box, crown.tape.narrowed(place, np.stack([np.full(5, s * 9.0) for s in (-1, 1) * 3]), 1)]

    true = np.maximum(va, vb)
    return Subject((run_larger,), lambda boxes: any(outside(box, *true) for box in boxes))


def of_checker(build: Any, bits: int | None = None, box: tuple[float, float] | None = None) -> Subject:
    """The checker's four analyses on a build, read from its files; `box`: another one for every element."""
    files = {n: (build.folder / n).read_bytes() for n in ("float.onnx", "network.json", "network.npz")}
    arrays = read_npz(files["network.npz"], "")
    whole = read_network(strict_json(files["network.json"], ""), arrays, bits)
    real = read_float(files["float.onnx"])
    document = json.loads((build.folder / "certificate.json").read_text())
    entries, ends = _domain(document["domain"], whole), [build.domain.lower, build.domain.upper]
    if box is not None:
        ends = [{name: np.full(whole.shapes[name], end) for name in entries} for end in box]
        for name, entry in entries.items():
            lower, upper = ((Fraction(end),) * len(entry.lower) for end in box)
            entries[name] = replace(entry, lower=lower, upper=upper)
    graph = build.graph if bits is None else with_bits(build.graph, bits)
    exact = truth(Pair(build.float_graph, graph, *ends), 1)
    steps = partial(paired, real, whole)
    runs = tuple((lambda make=make: dict(make().run(steps(), entries))) for make in KINDS.values())
    return Subject(runs, exact.left)


def of_cells(seed: int, side: Callable[[Case], np.ndarray], points: bool = False) -> Subject:
    """Enumerated pieces of a dense network, by the prover or by the checker."""
    each = case(seed)
    least = np.zeros((len(each.pieces), each.pair.whole.values[each.pair.whole.outputs[0]].size))
    for x in samples(each, np.random.default_rng(1), 150):
        q = integers(each, x)
        gaps = [above(Fraction(v)) for v in difference(each, x, q)]
        for i, piece in enumerate(each.pieces):
            inside = all(a <= v <= b for a, v, b in zip(piece.lower, x, piece.upper, strict=True))
            if inside and all(a <= n <= b for a, n, b in zip(piece.first, q, piece.last, strict=True)):
                least[i] = np.maximum(least[i], gaps)
    return Subject((lambda: side(each),), lambda bounds: bool((bounds < least).any()))


def of_sums(module: Any) -> Subject:
    """Inner products of a few terms, against what slack() of a module allows for them."""
    rng, sums = np.random.default_rng(0), []
    for n in rng.integers(1, 9, 300):
        a, b = rng.normal(size=(2, n)) * 10.0 ** rng.integers(-9, 9, n)
        exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
        off = above(abs(Fraction(float(np.dot(a, b))) - exact))
        sums.append((int(n), float(np.abs(a * b).sum()), off))
    return Subject(
        (lambda: [module.slack(n, np.array(size)) for n, size, _ in sums],),
        lambda got: any(allowed < off for allowed, (_, _, off) in zip(got, sums, strict=True)),
    )


def of_rows(upper: Callable[[np.ndarray, np.ndarray, float], float]) -> Subject:
    """Two matrices whose product nearly cancels, on a wide box: rounded coefficients must be paid for."""
    rng, cases = np.random.default_rng(0), []
    for _ in range(60):
        a, b, k = rng.uniform(1, 2, 3)
        first, second = np.array([[a], [b]]), np.array([[k, -(k * a / b)]])
        exact = sum(
            Fraction(float(s)) * Fraction(float(f)) for s, f in zip(second[0], first[:, 0], strict=True)
        )
        cases.append((first, second, 1000 * abs(exact)))
    return Subject(
        (lambda: [upper(first, second, 1000.0) for first, second, _ in cases],),
        lambda got: any(bound < top for bound, (_, _, top) in zip(got, cases, strict=True)),
    )


def prover_rows(first: np.ndarray, second: np.ndarray, reach: float) -> float:
    """The largest of second first x, |x| <= reach, by the prover's backward pass."""
    boxes = []
    for wide in ([reach], [2 * reach] * 2):
        end, zero = np.array(wide).reshape(1, -1, 1), np.zeros((1, len(wide), 1))
        boxes.append(Box(-end, end, -end, end, zero, zero))
    tape = [
        pair_back.Root(boxes[0]),
        *(
            pair_back.Linear(i, Linear(w[None], np.zeros((1, len(w)))), boxes[i])
            for i, w in enumerate((first, second))
        ),
    ]
    return float(pair_window.upper_bounds(tape, 2, pair_back.Rows(np.ones((1, 1)), None))[0])


def of_blurred() -> Subject:
    """A row over a tensor whose x is off by a quarter: its bound must grow by as much."""
    end, zero = np.ones((1, 1, 1)), np.zeros((1, 1, 1))

    def upper() -> float:
        root = pair_back.Root(Box(-end, end, -end, end, zero, zero))
        tape = [root, pair_back.Blurred(0, 0.25 * end)]
        return float(pair_window.upper_bounds(tape, 1, pair_back.Rows(np.ones((1, 1)), None))[0])

    return Subject((upper,), lambda bound: bound < 1.25)


def of_windows(farthest: Callable[[], float]) -> Subject:
    """Windows of sources hand back what the whole sources do."""
    return Subject((farthest,), lambda off: off > 1e-9)


def of_magnitudes() -> Subject:
    """What float32's errors are relative to."""
    ends = np.array([-3.0, 1.0]), np.array([2.0, 4.0])
    return Subject(
        (lambda: pair_single.largest(Box(*ends, *ends, *ends)),), lambda most: bool((most < [3.0, 4.0]).any())
    )


def of_checked_magnitudes() -> Subject:
    """The checker's, and what entering costs: at least a unit in the last place of float32."""
    ends, u = np.array([[-3.0, 1.0], [2.0, 4.0]]), 2.0**-24
    return Subject(
        (lambda: (single.reach(np.concatenate([ends] * 3)), single.entered(np.array([3.0, 4.0]))),),
        lambda got: bool((got[0] < [3.0, 4.0]).any() or (got[1] < [3.0 * u, 4.0 * u]).any()),
    )


def checker_rows(first: np.ndarray, second: np.ndarray, reach: float) -> float:
    """The same by the checker's."""
    tape, place = backward.Tape(), 0
    for i, (w, wide) in enumerate(((first, [reach]), (second, [2 * reach] * 2))):
        end, none = np.array(wide).reshape(1, -1, 1), np.zeros((1, len(w), 1))
        box = np.stack([-end, end, -end, end, 0 * end, 0 * end])
        place = tape.root(box) if i == 0 else place
        at, plain = np.arange(len(wide)).reshape(1, -1, 1), (0, none, none + 1)
        terms = Affine(
            w[None], w[None], 0 * w[None], none, none, none, at, Pad(), 0, Fraction(1), 0, (0, 0), plain
        )
        place = tape.affine(place, terms, box)
    return float(backward.upper(dict(enumerate(tape.nodes)), place, np.ones((1, 1, 1)))[0])


def of_floats(errors: Callable[[Any, np.ndarray, np.ndarray], np.ndarray], real: Any, chain: Any) -> Subject:
    """A chain's float network in float64, against how far it may be off anywhere in the box."""
    each, rng = case(1), np.random.default_rng(0)
    name, root = each.pair.real.outputs[0], each.whole.root
    low, high = (np.array([float(v) for v in end]) for end in (root.lower, root.upper))
    x = low + rng.random((60, len(low))) * (high - low)
    exact = [run(each.pair.real, fractions({"x": row}), Rational())[name] for row in x]
    got = real(each, x)
    off = np.array([[above(abs(Fraction(float(a)) - b)) for a, b in zip(r, e, strict=True)]
                    for r, e in zip(got, exact, strict=True)]).max(axis=0)  # fmt: skip
    form = chain(each)
    return Subject((lambda: errors(form, low, high),), lambda allowed: bool((allowed < off).any()))


def of_single(build: Any, side: Callable[[Any], Callable[[Any], dict[str, np.ndarray]]]) -> Subject:
    """The output at single inputs, whatever order float32 adds in, against the ranges of one side."""
    (name,), (out,), tried = build.graph.inputs, build.graph.outputs, []
    low, high = build.domain.lower[name], build.domain.upper[name]
    for share in np.random.default_rng(0).random((3, *low.shape)):
        x = (low + share * (high - low)).astype(np.float32)
        y = build.predict({name: x[None]})[out][0]
        values = [run(build.float_graph, {name: x}, Single(order))[out].astype(float) for order in ORDERS]
        tried.append((x, y, values))

    def left(found: list[dict[str, np.ndarray]]) -> bool:
        for boxes, (_, y, values) in zip(found, tried, strict=True):
            for box in boxes.values():
                for v in values:
                    if ((v < box[0]) | (v > box[1]) | (y - v < box[4]) | (y - v > box[5])).any():
                        return True
        return False

    ranges_at = side(build)
    return Subject((lambda: [ranges_at(x.astype(float)) for x, _, _ in tried],), left)


def of_single_cells(far: Callable[[Any, np.ndarray, np.ndarray], np.ndarray], seed: int = 1) -> Subject:
    """How far a chain in float32 is from its real value, against what one side allows on each piece."""
    each, rng = single_case(seed), np.random.default_rng(0)
    low, high = (
        np.array([[float(v) for v in getattr(p, end)] for p in each.pieces]) for end in ("lower", "upper")
    )
    gaps = []
    for x in low + rng.random(low.shape) * (high - low):
        real = through(each.chain.layers, x, Exact())
        ways = (through(each.chain.layers, x.astype(np.float32), Single(order)) for order in ORDERS)
        gaps.append(np.max([np.abs(way - real) for way in ways], axis=0))
    return Subject((lambda: far(each, low, high),), lambda most: bool((most + 1e-14 < np.array(gaps)).any()))
