# SPDX-License-Identifier: Apache-2.0
"""Ends of sums over maxima: no value lies beyond them, whatever the multipliers; the checker confirms."""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import textwrap
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from corner_nets import DOMAIN, KINDS, network

from tinybound.build import compile as compile_model
from tinybound.certify import corners, peaks
from tinybound.certify.batch import evaluate
from tinybound.certify.branch import ranges_within
from tinybound.certify.certificate import twin_of
from tinybound.certify.corners import narrowed
from tinybound.certify.effort import Effort
from tinybound.certify.lockstep import entries, lockstep
from tinybound.checker import check_certificate
from tinybound.checker import corners as checked
from tinybound.domains.pair_window import BUDGET, Passes
from tinybound.options import Options
from tinybound.pipeline import build_networks


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Kind, seed -> both networks."""
    folder, found = tmp_path_factory.mktemp("corners"), {}
    for kind, seed in itertools.product(KINDS, (0, 1)):
        net, out = network(kind, seed)
        found[kind, seed] = build_networks(net.save(folder, out), Options(domain=DOMAIN))
    return found


def inputs_of(shape, rng, narrow):
    """(lower, upper, many inputs): corners, faces and points inside; `narrow`: some inputs do not move."""
    n = int(np.prod(shape))
    low, high = np.full(n, -0.4), np.full(n, 0.5)
    if narrow:
        still = rng.random(n) < 0.3
        high[still] = low[still] = 0.1
    share = np.concatenate([rng.integers(0, 2, (400, n)), rng.random((100, n)), np.full((1, n), 0.5)])
    return low.reshape(shape), high.reshape(shape), (low + share * (high - low)).reshape(-1, *shape)


def climbed(real, twin, xs, low, high):
    """Each element of a value pushed to its ends: one input after the other, from the best of many."""
    values = evaluate(real, {"x": xs}, [twin])[twin].reshape(len(xs), -1)
    ends = []
    for sign in (1, -1):
        x, each = xs[(sign * values).argmax(axis=0)].copy(), np.arange(values.shape[1])
        best = (sign * values).max(axis=0)
        for i, end in itertools.product(range(low.size), (low, high)):
            moved = x.copy()
            moved.reshape(len(x), -1)[:, i] = end.ravel()[i]
            mine = sign * evaluate(real, {"x": moved}, [twin])[twin].reshape(len(x), -1)[each, each]
            x[mine > best] = moved[mine > best]
            best = np.maximum(best, mine)
        ends.append(sign * best)
    return ends


def beyond(both_nets, *, narrow=False, seed=0):
    """(how far some value lies beyond its ends, ends, of how many the end is nearer than that of crown)."""
    real, whole = both_nets.float_graph, both_nets.integer_graph
    low, high, xs = inputs_of(whole.values["x"].shape, np.random.default_rng(seed), narrow)
    both = lockstep(real, whole)
    at = entries(both, whole, {"x": low}, {"x": high})
    boxes = ranges_within(both, at, {}, Passes(BUDGET))
    far, count, nearer = -np.inf, 0, 0
    for value, sides in narrowed(both, at, boxes, lambda: False).items():
        (top, bottom), box = (
            climbed(real, twin_of(real, whole, value), xs, low, high),
            boxes[both.values[value]],
        )
        for side in sides:
            end = (box.ux if side.upper else box.lx).ravel()[side.element]
            most = (top if side.upper else bottom)[side.element]
            far = max(far, most - side.end if side.upper else side.end - most)
            count += 1
            nearer += abs(side.end - most) < 0.8 * abs(end - most)
    return far, count, nearer


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_lies_beyond_its_ends(kind, nets):
    found = [beyond(nets[kind, seed], narrow=seed == 1, seed=seed) for seed in (0, 1)]
    assert max(far for far, _, _ in found) <= 1e-12
    count, nearer = (sum(each[i] for each in found) for i in (1, 2))
    assert count > 3 <= nearer


def test_padding_is_no_maximum(nets):
    both = lockstep(nets["pool", 0].float_graph, nets["pool", 0].integer_graph)
    ((_, sums),) = peaks.sums_over_maxima(both)
    assert (sums.at < 0).any()
    assert all((sums.row(element)[0] >= 0).all() for element in range(12))


def flat_corners(m):
    """The last input stays where it is."""
    true = corners.at_corners
    m.setattr(corners, "at_corners", lambda slope, start: true(0.0 * slope, start))


def rest_is_free(m):
    """What groups do not take is worth nothing."""
    m.setattr(corners._Row, "proven", _with(corners._Row.proven, "np.abs(rest).sum()", "rest.sum()"))


def lines_for_all(m):
    """Also of positive weights."""
    true = corners._Row.__init__

    def init(self, at, *rest):
        true(self, at, *rest)
        self.w = -np.abs(self.w)

    m.setattr(corners._Row, "__init__", init)


def no_floor(m):
    m.setattr(peaks, "_after", _with(peaks._after, "max(x.taps.floor, float(step.real[0]))", "-np.inf"))


def one_tap(m):
    """Of a pool."""
    m.setattr(peaks, "_largest", _with(peaks._largest, "enumerate(at[i])", "enumerate(at[i, :1].repeat(4))"))


def other_bias(m):
    true = peaks.Sums.row
    m.setattr(peaks.Sums, "row", lambda *args: (*true(*args)[:2], true(*args)[2] - 0.1))


def narrow_inputs(m):
    m.setattr(corners, "centre", lambda low, high: (0.5 * low + 0.5 * high, 0.3 * (high - low)))


def _with(function, old, new):
    """The function with a piece of its text replaced."""
    text = inspect.getsource(function)
    assert text.count(old) == 1
    space = dict(vars(inspect.getmodule(function)))
    exec(compile(textwrap.dedent(text).replace(old, new), "<mutant>", "exec"), space)
    return space[function.__name__]


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (flat_corners, "dense"), (rest_is_free, "dense"), (rest_is_free, "pool"), (lines_for_all, "dense"),
        (no_floor, "pool"), (one_tap, "no relu"), (other_bias, "late relu"), (narrow_inputs, "padded"),
    ],
)  # fmt: skip
def test_a_wrong_prover_is_seen(plant, kind, nets, monkeypatch):
    plant(monkeypatch)
    assert max(beyond(nets[kind, seed])[0] for seed in (0, 1)) > 1e-6


def certified(kind, seed, folder):
    """(document, path, folder) of a build whose certificate has such ends."""
    net, out = network(kind, seed)
    build = compile_model(net.save(folder, out), folder / "B", Options(domain=DOMAIN, target="c"))
    build.certify(build.domain, effort=Effort(2))
    path = build.folder / "certificate.json"
    return json.loads(path.read_text()), path, build.folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return certified("no relu", 0, tmp_path_factory.mktemp("built"))


def verdict(document, built):
    built[1].write_text(json.dumps(document))
    return check_certificate(built[1], built[2])


def first_row(document, at, new):
    """With one field of the first end changed."""
    ((value, rows),) = document["corners"].items()
    row = list(rows[0])
    row[at] = new(row[at]) if callable(new) else new
    return {**document, "corners": {value: [row, *rows[1:]]}}


def test_a_combination_knows_the_ends_too(tmp_path):
    """Without them it is bounded by less here: of wider ranges other lines are chosen."""
    net, out = network("late relu", 2)
    build = compile_model(net.save(tmp_path, out), tmp_path / "B", Options(domain=DOMAIN, target="c"))
    ((name, shape),) = ((name, build.graph.values[name].shape) for name in build.graph.outputs)
    weights = np.zeros(shape)
    weights.flat[2:4] = 1, -1
    build.certify(build.domain, effort=Effort(2), weights={name: weights})
    path = build.folder / "certificate.json"
    assert json.loads(path.read_text())["corners"]
    answer = check_certificate(path, build.folder)
    assert answer["accepted"], answer["reason"]


def test_the_checker_finds_the_same(built):
    document = built[0]
    answer = verdict(document, built)
    assert answer["accepted"], answer["reason"]
    assert max(map(len, document["corners"].values())) > 20
    without = {key: part for key, part in document.items() if key != "corners"}
    assert not verdict(without, built)["accepted"]


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, -1), (0, 10_000), (0, 1.0), (1, "middle"), (1, None), (2, 0.0), (2, -1.0), (2, 1e300), (2, True),
        (2, None), (3, "?"), (3, ""), (3, lambda text: text[:-4]), (3, 5), (4, ""), (4, "AAAA"),
        (4, lambda text: base64.b64encode(bytes(len(base64.b64decode(text)))).decode()),
    ],
)  # fmt: skip
def test_ends_that_are_none(at, new, built):
    answer = verdict(first_row(built[0], at, new), built)
    assert not answer["accepted"]
    assert "damaged" not in answer["reason"]


def test_ends_of_what_is_no_sum(built):
    for ends in ({"x": []}, {"nothing": []}, [], {next(iter(built[0]["corners"])): [[0, "upper", 1.0, ""]]}):
        answer = verdict({**built[0], "corners": ends}, built)
        assert not answer["accepted"]
        assert "damaged" not in answer["reason"]
    many = {value: rows * 3 for value, rows in built[0]["corners"].items()}
    assert "too many" in verdict({**built[0], "corners": many}, built)["reason"]


def over(built, monkeypatch, rng=None):
    """How far some value lies beyond what the checker makes of the multipliers, or (rng) of others."""
    found = []
    true = checked.Ends.__init__

    def init(self, said, steps, entries):
        if rng is not None:
            said = {value: [scrambled(row, rng) for row in rows] for value, rows in said.items()}
        true(self, said, steps, entries)
        found.append(self.boxes)

    monkeypatch.setattr(checked.Ends, "__init__", init)
    verdict(built[0], built)
    monkeypatch.setattr(checked.Ends, "__init__", true)
    ((value, box),) = found[0].items()
    top, bottom = climbed_in(built[2], value)
    return max((top - box[1].ravel()).max(), (box[0].ravel() - bottom).max())


@cache
def climbed_in(folder, value):
    """As `climbed`, of a build."""
    net = build_networks(folder / "float.onnx", Options(domain=DOMAIN))
    low, high, xs = inputs_of((1, 4, 4), np.random.default_rng(0), narrow=False)
    real, whole = net.float_graph, net.integer_graph
    return climbed(real, twin_of(real, whole, value), xs, low, high)


def scrambled(row, rng):
    """An end with other multipliers."""
    split, lines = (base64.b64decode(part) for part in row[3:])
    share = rng.integers(1, 256, len(lines)).astype(np.uint8).tobytes() if rng.random() < 0.7 else lines
    other = rng.integers(0, 256, len(split)).astype(np.uint8).tobytes() if rng.random() < 0.5 else split
    return [*row[:2], row[2], *(base64.b64encode(part).decode() for part in (other, share))]


def test_any_multipliers_prove_what_is_true(built, monkeypatch):
    assert over(built, monkeypatch, np.random.default_rng(0)) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["padded", "pool", "late relu"])
def test_others_too(kind, tmp_path, monkeypatch):
    each = certified(kind, 1, tmp_path)
    answer = verdict(each[0], each)
    assert answer["accepted"], answer["reason"]
    rng = np.random.default_rng(0)
    assert max(over(each, monkeypatch, rng) for rng in (None, rng)) <= 1e-12


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("np.abs(rest).sum()", "rest.sum()"), ("rest[list(inputs)] -= own", "pass"),
        ("value, size, rest, taps = b,", "value, size, rest, taps = 0.0,"),
        ("float(part @ starts)", "0.0"),
    ],
)  # fmt: skip
def test_a_wrong_checker_is_noticed(old, new, built, monkeypatch):
    text = textwrap.dedent(inspect.getsource(checked._Corners.most))
    assert text.count(old) == 1
    space = dict(vars(checked))
    exec(compile("from __future__ import annotations\n" + text.replace(old, new), "<mutant>", "exec"), space)
    monkeypatch.setattr(checked._Corners, "most", space["most"])
    with np.errstate(all="ignore"):
        assert over(built, monkeypatch) > 1e-6


@pytest.mark.parametrize("name", ["_over", "_everywhere", "_functions", "_row", "_linear", "_pooled"])
def test_a_wrong_rule_of_the_checker_is_noticed(name, built, monkeypatch):
    """Each says a little less than what it should."""
    owner = checked if hasattr(checked, name) else checked._Corners
    true = getattr(owner, name)

    def less(*args):
        found = true(*args)
        if name in ("_over", "_everywhere"):
            return found - 0.05 * (np.max(found) - np.min(found))
        if name == "_functions":
            return found[0], 0.9 * found[1], *found[2:]
        if name == "_row":
            return found[0], 0.9 * found[1], found[2]
        return replace(found, slopes=0.9 * found.slopes)

    monkeypatch.setattr(owner, name, less)
    assert over(built, monkeypatch) > 1e-6
