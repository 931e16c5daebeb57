# SPDX-License-Identifier: Apache-2.0
"""What certify answers: combinations of outputs, classes in balls, the largest box; and how it refuses."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command import InProcess
from pair_nets import NONE, Sketch, fractions, points, reals, zoo
from pair_nets import Rational as Exactly

import tinybound
from tinybound.asks import Ask, answer
from tinybound.boxes import Box, ball, scaled
from tinybound.certify.certificate import certify
from tinybound.certify.classes import Ball, classes_of
from tinybound.certify.combine import combined
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.objective import parse_objective
from tinybound.certify.question import largest_box
from tinybound.domains.exact import run
from tinybound.errors import CompileError

EXAMPLES = Path(__file__).parents[1] / "examples"


def pieces(pair, x):
    """Exact x, y of all outputs at a point, flat."""
    real, whole = run(pair.real, fractions(x), Exactly(1)), run(pair.whole, pair.quantise(x))
    outs = pair.whole.outputs
    return (
        np.concatenate([real[n].ravel() for n in outs]),
        np.concatenate([reals(pair.whole.values[n], whole[n]).ravel() for n in outs]),
    )


def objective(pair, ends, weights):
    """Of a certificate of the networks; weights of all elements, output after output."""
    sizes = [pair.whole.values[name].size for name in pair.whole.outputs]
    parts = np.split(np.asarray(weights, float), np.cumsum(sizes)[:-1])
    named = dict(zip(pair.whole.outputs, parts, strict=True))
    return certify(pair.real, pair.whole, *ends, hashes={}, weights=named, budget=300).fields["objective"]


@pytest.mark.parametrize("seed", range(16))
def test_combinations_hold_what_both_networks_compute(seed):
    pair, rng = zoo(seed), np.random.default_rng(seed)
    both = lockstep(pair.real, pair.whole)
    at, outs = entries(both, pair.whole, pair.lower, pair.upper), list(pair.whole.outputs)
    size = sum(pair.whole.values[name].size for name in outs)
    weights = np.concatenate([rng.normal(size=(3, size)), np.eye(size)[:1] - np.eye(size)[-1:]])
    box = combined(both, at, outs, weights)
    exact = np.array([[Fraction(w) for w in row] for row in weights.tolist()], object)
    for x in points(pair, rng, 8):
        float_side, integer_side = pieces(pair, x)
        for value, low, high in (
            (exact @ float_side, box.lx, box.ux),
            (exact @ integer_side, box.ly, box.uy),
            (exact @ (integer_side - float_side), box.ld, box.ud),
        ):
            assert ((low <= value) & (value <= high)).all()


def test_what_two_outputs_share_cancels():
    """Twice the same layer: the difference of the two outputs is 0 on both sides, whatever its bound."""
    s = Sketch(3, (3,))
    h = s.dense("x", 4)
    y = s.dense(h, 2, NONE)
    op = s.nodes[-2].op
    op.weights[1], op.bias[1] = op.weights[0], op.bias[0]
    pair = s.build(y, squeeze=1.5)
    ends = tuple({"x": 0.2 * side["x"]} for side in (pair.lower, pair.upper))
    apart, alone = objective(pair, ends, [1.0, -1.0]), objective(pair, ends, [1.0, 0.0])
    step = float(pair.whole.values[y].quant.scale[0])
    assert alone["attack"] <= alone["bound"]
    assert apart["bound"] <= 1.001 * step < 2 * alone["bound"]  # the two last roundings stay free


SHAPES = {"y": (4,), "z": (2, 3)}


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("y[0]-y[3]", {0: 1, 3: -1}),
        (" 2*y[1] - 0.5*z[1,2] ", {1: 2, 9: -0.5}),
        ("-z[5] + 1e-1*y[0] + y[0]", {9: -1, 0: 1.1}),
        ('{"z": [[1, 0, 0], [0, 0, -1]]}', {4: 1, 9: -1}),
        ("[1, 0, 0, -2]", {0: 1, 3: -2}),
    ],
)
def test_objectives_as_written(text, places):
    expected = np.zeros(10)
    for k, weight in places.items():
        expected[k] = weight
    found = parse_objective(text, SHAPES)
    assert list(found) == list(SHAPES)
    assert (np.concatenate([part.ravel() for part in found.values()]) == expected).all()


@pytest.mark.parametrize(
    "text",
    [
        *("", "y", "y[4]", "z[2,0]", "z[-1]", "w[0]", "y[0]-y[0]", "y[0] y[1]", "2y[0]", "[1, 2]"),
        *('{"w": [1]}', "{", "[1, 0, 0, Infinity]", "y[0]-", "1e999*y[0]", '{"y": "abc"}', "1.2.3*y[0]"),
        *("[" * 100_000, f"[1{'0' * 400}, 0, 0, 0]", f"y[{'1' * 5000}]"),
        *("1.1e30*y[0]", "9e29*y[0] + 9e29*y[0]", "[1e200, 0, 0, -1]"),
        '{"y": [1, 0, 0, 0], "y": [0, 0, 0, 1]}',
    ],
)
def test_bad_objectives_are_refused(text):
    with pytest.raises(CompileError, match="--objective"):
        parse_objective(text, SHAPES)


def test_balls_hold_every_point_within_the_radius():
    x = np.array([0.1, -0.3, 1.0])
    box = ball({"x": x}, 0.1)
    for k in range(3):
        assert Fraction(box.lower["x"][k]) <= Fraction(x[k]) - Fraction(0.1)
        assert Fraction(box.upper["x"][k]) >= Fraction(x[k]) + Fraction(0.1)
    inside = Box({"x": np.zeros(3)}, {"x": np.ones(3)})
    with pytest.raises(CompileError, match="does not touch"):
        ball({"x": x}, 0.1, inside)
    part = ball({"x": np.abs(x)}, 0.2, inside)
    assert (part.lower["x"] == np.maximum(ball({"x": np.abs(x)}, 0.2).lower["x"], 0)).all()
    assert part.upper["x"][2] == 1.0
    assert (scaled(inside, 1.0).lower["x"] == 0).all()
    assert (scaled(inside, 0.0).lower["x"] == 0.5).all()


@pytest.mark.parametrize("seed", [0, 1, 8, 9])
def test_classes_that_are_said_to_agree_do_and_those_refuted_do_not(seed):
    pair, rng = zoo(seed), np.random.default_rng(seed)
    (name,), (out,) = pair.whole.inputs, pair.whole.outputs[:1]
    low, high = pair.lower[name], pair.upper[name]
    balls = []
    for radius in (0.0, 0.003, 0.05, 0.5):
        for _ in range(3):
            x = low + rng.random(low.shape) * (high - low)
            balls.append(Ball({name: x}, {name: x - radius}, {name: x + radius}))
    found = classes_of(pair.real, pair.whole, out, out, balls, 0)
    assert any(each.agree for each in found)
    for each, where in zip(found, balls, strict=True):
        assert not (each.agree and each.refuted)
        if each.refuted:
            x = each.refuted[name]
            assert ((where.lower[name] <= x) & (x <= where.upper[name])).all()
            float_side, integer_side = pieces_of(pair, out, {name: x})
            assert float_side.argmax() != integer_side.argmax()
        if each.agree:
            for _ in range(30):
                x = where.lower[name] + rng.random(low.shape) * (where.upper[name] - where.lower[name])
                float_side, integer_side = pieces_of(pair, out, {name: x})
                assert float_side.argmax() == integer_side.argmax() == each.float_class
                assert max(abs(float_side - integer_side)) <= each.bound


def pieces_of(pair, out, x):
    whole = run(pair.whole, pair.quantise(x))[out]
    return run(pair.real, fractions(x), Exactly())[out], reals(pair.whole.values[out], whole)


@pytest.mark.parametrize("seed", [0, 4])
def test_some_balls_are_refuted(seed):
    pair = zoo(seed)
    (name,), out = pair.whole.inputs, pair.whole.outputs[0]
    middle = 0.5 * (pair.lower[name] + pair.upper[name])
    (found,) = classes_of(pair.real, pair.whole, out, out, [Ball({name: middle}, pair.lower, pair.upper)], 0)
    assert (found.refuted is not None, found.agree) == (seed == 4, False)


@pytest.mark.parametrize("seed", range(2))
def test_both_ends_of_a_combination_hold_it_where_they_have_one_sign(seed):
    """At a point both ends lie beside the one value, whose sign is either."""
    pair, rng = zoo(seed), np.random.default_rng(seed)
    (x,) = points(pair, rng, 1)
    size = sum(pair.whole.values[name].size for name in pair.whole.outputs)
    for k in (0, size - 1):
        weights = np.eye(size)[k]
        found = objective(pair, (x, x), weights)
        float_side, integer_side = pieces(pair, x)
        value = integer_side[k] - float_side[k]
        assert Fraction(found["lower"]) <= value <= Fraction(found["upper"])


def test_the_largest_box_meets_its_error_and_the_next_one_does_not():
    pair = zoo(0)
    (name,) = pair.whole.inputs
    middle = 0.5 * (pair.lower[name] + pair.upper[name])

    def ends(size):
        return {name: middle - size}, {name: middle + size}

    tops = []
    for limit in (0.05, 0.2):
        found = largest_box(pair.real, pair.whole, ends, 4.0, limit, 0)
        assert found.bound <= limit
        assert found.next_size == pytest.approx(found.size, rel=1e-2, abs=1e-4)
        assert found.next_attack > 0
        tops.append(found.size)
    assert tops == sorted(tops)
    cut = largest_box(pair.real, pair.whole, ends, 4.0, 0.2, 0, seconds=3.0)
    assert cut.bound <= 0.2
    assert cut.size >= tops[-1] * (1 - 1e-9)
    whole = largest_box(pair.real, pair.whole, ends, 0.01, 1e6, 0)
    assert (whole.size, whole.next_size) == (0.01, None)
    with pytest.raises(CompileError, match="at the point itself"):
        largest_box(pair.real, pair.whole, ends, 4.0, 1e-9, 0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asks")
    calibration = EXAMPLES / "digits_mlp_calibration.npz"
    options = tinybound.Options(target="c", calibration=calibration)
    build = tinybound.compile(EXAMPLES / "digits_mlp.onnx", folder / "B", options)
    np.savez(folder / "x.npz", x=np.load(EXAMPLES / "digits_mlp_test.npz")["x"][:12])
    return build, folder / "x.npz"


def timeless(found):
    return {key: value for key, value in found.items() if key != "seconds"}


def test_processes_change_nothing(digits):
    build, inputs = digits
    one = answer(build.folder, Ask(domain="0,1", inputs=inputs, radius=0.02))
    two = answer(build.folder, Ask(domain="0,1", inputs=inputs, radius=0.02, jobs=2))
    assert timeless(one) == timeless(two)
    assert one["certified"] + one["refuted"] <= one["inputs"] == 12
    assert one["certified"] >= 10
    assert [row["index"] for row in one["rows"]] == [*range(12)]


def test_the_command_answers(digits, monkeypatch, capsys):
    (build, inputs), here = digits, InProcess(monkeypatch, capsys)
    where = ("certify", build.folder, "--around", inputs, "--index", 3, "--radius", "0.01", "--json")
    before = build.certificate
    for more, keys in (
        (("--margin",), {"certified_fraction", "rows"}),
        (("--find-max-box", "0.25"), {"radius", "bound"}),
    ):
        made = here(*where, *more)
        assert made.code == 0, made.err
        assert keys <= set(made.json)
    assert build.certificate == before  # questions leave the build as it is
    made = here(*where, "--objective", "y[0]-y[3]")
    said, outs = made.json["objective"], made.json["outputs"]["y"]
    assert 0 < said["attack"] <= said["bound"] == max(said["upper"], -said["lower"])
    assert said["bound"] < outs["bound"][0] + outs["bound"][3]
    assert said["weights"]["y"] == [1, 0, 0, -1, *[0] * 6]
    x = np.load(inputs)["x"][3].astype(float)
    assert all(Fraction(v) <= Fraction(c) for v, c in zip(made.json["domain"]["x"]["lower"], x, strict=True))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"margin": True, "objective": "y[0]"}, "--objective: --margin as well"),
        ({"margin": True, "shares": True}, "--shares: --margin as well"),
        ({"radius": 0.1}, "--radius: no points"),
        ({"around": Path("x.npz")}, "--radius: none"),
        ({"around": Path("x.npz"), "radius": -1.0}, "--radius: -1"),
        ({"inputs": Path("x.npz"), "around": Path("y.npz"), "radius": 1.0}, "--inputs: --around as well"),
        ({"around": Path("x.npz"), "radius": 1e300}, "--radius: 1e"),
        ({"seed": -1}, "--seed: -1"),
        ({"max_box": 0.0}, "--find-max-box: 0"),
    ],
)
def test_what_does_not_go_together(how, words):
    with pytest.raises(CompileError, match=words):
        Ask(**how)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--margin", "--grid"), "--grid: nothing that heeds it"),
        (("--grid", "--export-merged", "M.onnx"), "--export-merged: nothing that heeds it"),
        (("--margin", "--export-merged", "M.onnx"), "--export-merged: nothing"),
        (("--margin", "--max-error", "0.1"), "--max-error: nothing"),
        (("--objective", "y[99]"), "--objective: y[99]"),
        (("--margin", "--timeout", "3"), "--timeout: nothing"),
        (("--find-max-box", "0.3", "--timeout", "-1"), "--timeout: -1"),
        (("--margin", "--jobs", "2"), "--jobs: nothing"),
        (("--index", "1"), "--index: nothing"),
        (("--export-merged", "M.vnnlib"), "M.vnnlib: the name of the query"),
        (("--export-merged", "none/M.onnx"), "no such folder"),
    ],
)
def test_what_would_not_be_done_is_refused(digits, options, words, monkeypatch, capsys):
    """Above all a query over a box beside a bound that holds on the grid only: it would be false."""
    before = (digits[0].folder / "manifest.json").stat().st_mtime_ns
    made = InProcess(monkeypatch, capsys)("certify", digits[0].folder, *options)
    assert made.code == 2
    assert words in made.err
    assert (digits[0].folder / "manifest.json").stat().st_mtime_ns == before  # the build stays as it is


def test_bad_points_and_jobs(digits):
    build, inputs = digits
    for how, words in (
        ({"around": inputs, "radius": 0.1, "index": 12, "margin": True}, "--index: 12"),
        ({"inputs": inputs, "radius": 0.1, "jobs": 0}, "--jobs: 0"),
        ({"inputs": inputs.with_name("none.npz"), "radius": 0.1}, "none.npz"),
    ):
        with pytest.raises(CompileError, match=words):
            answer(build.folder, Ask(**how))
