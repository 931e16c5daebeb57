# SPDX-License-Identifier: Apache-2.0
"""The integer network against float networks of other shapes: what both compute stays within the bound."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command import InProcess
from pair_nets import NONE, Rational, fractions, points, reals, zoo

import tinybound
from tinybound.certify.lockstep import entries, lockstep, walk
from tinybound.certify.reference import bound_reference
from tinybound.domains.exact import run
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_interval import PairInterval
from tinybound.domains.pair_itself import PairItself
from tinybound.domains.pair_product import PairProduct
from tinybound.graph import Graph, check
from tinybound.ops.dense import Dense

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("make", [PairInterval, PairProduct, PairCrown])
@pytest.mark.parametrize("seed", range(16))
def test_a_float_network_by_itself_stays_in_its_ranges(seed, make):
    pair, domain = zoo(seed), make()
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    values = {name: domain.enter(at[both.values[name]]) for name in pair.real.inputs}
    for node in pair.real.nodes:
        values[node.output] = node.op.meaning(PairItself(domain), *(values[n] for n in node.inputs))
    boxes = {name: domain.ranges(state) for name, state in values.items()}
    for x in points(pair, np.random.default_rng(seed), 6):
        entered = {
            name: reals(pair.whole.values[name], q) for name, q in pair.quantise(x).items()
        }  # fmt: skip
        ours, theirs = run(pair.real, fractions(x), Rational()), run(pair.real, entered, Rational())
        for name, box in boxes.items():
            gap = theirs[name] - ours[name]
            slack = 1e-12 if seed % 8 == 2 else 0  # functions are in float64 here
            assert ((box.lx - slack <= ours[name]) & (ours[name] <= box.ux + slack)).all(), name
            assert ((box.ly - slack <= theirs[name]) & (theirs[name] <= box.uy + slack)).all(), name
            assert ((box.ld - slack <= gap) & (gap <= box.ud + slack)).all(), name


def decomposed(pair, rank):
    """The float network with every Dense as two, through `rank` values: no layer pairs up."""
    nodes, values = [], dict(pair.real.values)
    for node in pair.real.nodes:
        if not isinstance(node.op, Dense):
            nodes.append(node)
            continue
        u, s, v = np.linalg.svd(node.op.weights)
        k, name = min(rank, len(s)), f"{node.name}_inner"
        nodes.append(replace(node, name=name, op=Dense(v[:k], np.zeros(k)), output=name))
        nodes.append(replace(node, name=f"{name}_out", op=NONE, inputs=(name,), output=f"{name}_out"))
        for each in (name, f"{name}_out"):
            values[each] = replace(values[node.output], name=each, shape=(k,))
        nodes.append(replace(node, op=Dense(u[:, :k] * s[:k], node.op.bias), inputs=(f"{name}_out",)))
    real = pair.real
    return check(Graph(real.name, real.inputs, real.outputs, tuple(nodes), values), integer=False)


@pytest.mark.parametrize(("seed", "rank"), [(0, 2), (1, 9), (9, 2)])
def test_differences_to_a_decomposed_network_are_bounded(seed, rank):
    pair, ends = zoo(seed), None
    for share in (1.0, 0.1):
        middle = 0.5 * (pair.lower["x"] + pair.upper["x"])
        ends = [{"x": middle + share * (side["x"] - middle)} for side in (pair.lower, pair.upper)]
        other = decomposed(pair, rank)
        found = bound_reference(pair.real, pair.whole, other, ends, 0)
        rows = {row["output"]: row for row in found["rows"]}
        near = replace(pair, lower=ends[0], upper=ends[1])
        for x in points(near, np.random.default_rng(1), 20):
            for name in pair.whole.outputs:
                y = reals(pair.whole.values[name], run(pair.whole, pair.quantise(x))[name])
                gaps = abs(y - run(other, fractions(x), Rational())[name])
                for i, gap in enumerate(gaps):
                    assert gap <= Fraction(rows[f"{name}[{i}]"]["bound"])
        for name, x in found["witness"].items():
            at = {key: np.array(value) for key, value in x.items()}
            y = reals(pair.whole.values[name], run(pair.whole, pair.quantise(at))[name])
            gap = max(abs(y - run(other, fractions(at), Rational())[name]))
            assert float(gap) == pytest.approx(max(r["attack"] for r in rows.values()), rel=1e-9)


def test_it_is_tighter_than_two_separate_bounds():
    pair = zoo(0)
    middle = 0.5 * (pair.lower["x"] + pair.upper["x"])
    ends = [{"x": middle + 0.1 * (side["x"] - middle)} for side in (pair.lower, pair.upper)]
    found = bound_reference(pair.real, pair.whole, decomposed(pair, 9), ends, 0)
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, *ends)
    (name, *_), domain = pair.whole.outputs, PairCrown()
    box = next(
        domain.ranges(s) for i, s in walk(both, domain, at) if i == both.values[name]
    )  # fmt: skip
    separate = np.maximum(box.uy - box.lx, box.ux - box.ly)
    assert max(row["bound"] for row in found["rows"]) < 0.7 * separate.max()


def test_the_command_pairs_layers_where_it_can(tmp_path, monkeypatch, capsys):
    here, box = InProcess(monkeypatch, capsys), str(EXAMPLES / "controller2_box.json")
    model = EXAMPLES / "controller2.onnx"
    tinybound.compile(model, tmp_path / "B", tinybound.Options(target="c", domain=box))
    own = here("certify", tmp_path / "B", "--reference", model, "--json")
    assert own.code == 0, own.err
    assert own.json["method"] == "separate, input shared, and layer by layer"
    assert own.json["rows"][0]["bound"] < 0.06
    here.fails(2, "--reference", on=("certify", tmp_path / "B", "--reference", EXAMPLES / "controller4.onnx"))
