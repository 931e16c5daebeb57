# SPDX-License-Identifier: Apache-2.0
"""Input boxes: every way to write one, rounded outwards, and what is refused."""

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from tinybound.boxes import FLOAT32_MAX, parse_box
from tinybound.errors import CompileError
from tinybound.graph import Graph, Value


def graph(*shape):
    return Graph("net", ("x",), (), (), {"x": Value("x", shape)})


def ends(text, *shape):
    box = parse_box(str(text), graph(*shape))
    assert box.lower["x"].shape == box.upper["x"].shape == shape
    assert box.lower["x"].dtype == box.upper["x"].dtype == np.float64
    return box.lower["x"], box.upper["x"]


def test_two_numbers():
    low, high = ends("-1.5,2e-1", 2, 3)
    assert (low == -1.5).all()
    assert (high == np.float64(0.2)).all()  # the double next to 0.2 lies above it


def is_outward(low, high, exact_low, exact_high):
    """The nearest doubles that hold the box."""
    assert Fraction(low) <= exact_low
    assert exact_high <= Fraction(high)
    assert exact_low < Fraction(float(np.nextafter(low, np.inf)))
    assert Fraction(float(np.nextafter(high, -np.inf))) < exact_high


def test_decimals_are_rounded_outwards(tmp_path):
    rng, path, moved = np.random.default_rng(0), tmp_path / "box.json", 0
    texts = [f"{x:.{d}f}" for x, d in zip(rng.uniform(-9, 9, 1000), rng.integers(1, 25, 1000), strict=True)]
    texts += ["0.1", "0.3", "-0.1", "1e-30", "-1e-330", "1e-330", "3.4e38", "0", "-0.0", "16777217"]
    for text in texts:
        exact = Fraction(Decimal(text))
        low, high = ends(f"{text},{text}", 1)
        is_outward(low[0], high[0], exact, exact)
        moved += low[0] != high[0]
        path.write_text(f'{{"lower": {text}, "upper": [{text}]}}')
        again = ends(path, 1)
        assert (again[0][0], again[1][0]) == (low[0], high[0])
    assert moved > 900  # few decimals are doubles
    print(f"{len(texts)} decimals, {moved} are no double")


def test_integers_beyond_double_precision(tmp_path):
    path, large = tmp_path / "box.json", 2**60 + 1
    path.write_text(json.dumps({"lower": large, "upper": large}))
    low, high = ends(path, 1)
    is_outward(low[0], high[0], Fraction(large), Fraction(large))


def test_json(tmp_path):
    path = tmp_path / "box.json"
    for lower, upper, wanted in (
        (-1, 1, [[-1, -1], [-1, -1]]),
        ([[-1, -2], [-3, -4]], [1, 2, 3, 4], [[-1, -2], [-3, -4]]),
        ([[[-1, -2], [-3, -4]]], 5, [[-1, -2], [-3, -4]]),  # with a batch axis of 1
    ):
        path.write_text(json.dumps({"lower": lower, "upper": upper}))
        np.testing.assert_array_equal(ends(path, 2, 2)[0], wanted)
        path.write_text(json.dumps({"x": {"lower": lower, "upper": upper}}))  # by input
        np.testing.assert_array_equal(ends(path, 2, 2)[0], wanted)


def test_npz(tmp_path):
    path = tmp_path / "box.npz"
    low, high = np.array([-1, -2, -3], np.float32), np.array([0.1, 0.2, 0.3], np.float32)
    np.savez(path, lower=low, upper=high, label=np.array("text"))
    found = ends(path, 3)
    np.testing.assert_array_equal(found[0], low)
    np.testing.assert_array_equal(found[1], high)  # a float32 is a double


VNNLIB = """; (assert (<= X_0 99.0)) in a comment
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(assert (<= X_0 0.679857769))
(assert (>= X_0 0.6))
  (assert ( >=  X_1  -5e-1 ))
(assert (<= X_1 0.5))   ; (assert (<= X_1 0.4))
(assert (<= Y_0 3.99))
"""


def test_vnnlib(tmp_path):
    path = tmp_path / "box.vnnlib"
    path.write_text(VNNLIB)
    low, high = ends(path, 1, 2)
    is_outward(low[0, 0], high[0, 0], Fraction("0.6"), Fraction("0.679857769"))
    assert (low[0, 1], high[0, 1]) == (-0.5, 0.5)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("(assert (>= X_0 0.6))", ""),  # no lower end
        lambda text: text.replace("X_1", "X_2"),  # X_1 is free
        lambda text: text + "(assert (<= X_1 0.25))",  # which one?
        lambda text: "(assert (or (and (<= X_0 1) (>= X_0 0)) (and (<= X_0 3) (>= X_0 2))))",  # two boxes
        lambda text: text.replace("0.6)", "0.6.1)"),
        lambda text: "",
    ],
)
def test_vnnlib_that_is_no_box(tmp_path, change):
    path = tmp_path / "box.vnnlib"
    path.write_text(change(VNNLIB))
    with pytest.raises(CompileError, match=r"^--domain: .*box\.vnnlib' is no box"):
        parse_box(str(path), graph(2))


def test_vnnlib_of_another_size(tmp_path):
    path = tmp_path / "box.vnnlib"
    path.write_text(VNNLIB)
    with pytest.raises(CompileError, match=r"do not fit shape \(3,\) \(their shape is \(2,"):
        parse_box(str(path), graph(3))
    path.write_text("(assert (>= X_0 0)) (assert (<= X_0 1))")  # nothing is said of X_1
    with pytest.raises(CompileError, match=r"do not fit shape \(2,\) \(their shape is \(1,"):
        parse_box(str(path), graph(2))


@pytest.mark.parametrize(
    "text", ["", ",", "1", "1,2,3", "a,b", "missing.json", "missing.npz", "1;2", "0x1,2", "[0,1]"]
)
def test_text_that_is_no_box(text):
    with pytest.raises(CompileError, match=r"^--domain: .* is no box; expected LO,HI or a \.json, "):
        parse_box(text, graph(2))


@pytest.mark.parametrize(
    "text, word",
    [
        ("2,1", "lower above upper for input 'x'"),
        ("nan,1", "do not fit"),
        ("-inf,inf", "no float32"),
        ("-1e39,0", "no float32"),
        ("0,1e999999999", "no float32"),  # at once, without its billion digits
    ],
)
def test_ends_that_are_none(text, word):
    with pytest.raises(CompileError, match=word):
        parse_box(text, graph(2))


@pytest.mark.parametrize(
    "data, word",
    [
        ("[", "is no box"),
        ("[1, 2]", "no lower and upper for input 'x'"),
        ('{"lower": 1}', "no lower and upper for input 'x'"),
        ('{"y": {"lower": 1, "upper": 2}}', "no lower and upper for input 'x'"),
        ('{"lower": [1, 2, 3], "upper": 4}', r"do not fit shape \(2, 1\) \(their shape is \(3,"),
        ('{"lower": [[1, 2]], "upper": 4}', r"do not fit shape \(2, 1\)"),  # the other way round
        ('{"lower": [[1], [2, 3]], "upper": 4}', "do not fit"),
        ('{"lower": "1", "upper": 4}', "do not fit"),
        ('{"lower": null, "upper": 4}', "do not fit"),
        ('{"lower": NaN, "upper": 4}', "do not fit"),
        ('{"lower": 1, "upper": Infinity}', "no float32"),
        ('{"lower": {}, "upper": 1}', "do not fit"),
        ('{"lower": [0], "upper": [1]}', "do not fit"),  # of one element, and there are two
        ('{"lower": 0, "lower": -1, "upper": 1}', "is no box"),  # which one?
        ("[" * 100_000, "is no box"),
    ],
)
def test_bad_json(tmp_path, data, word):
    path = tmp_path / "box.json"
    path.write_text(data)
    with pytest.raises(CompileError, match=word):
        parse_box(str(path), graph(2, 1))


def test_bad_npz(tmp_path):
    path = tmp_path / "box.npz"
    np.savez(path, lower=np.zeros(2), upper=np.array([1, np.nan]))
    with pytest.raises(CompileError, match="do not fit"):
        parse_box(str(path), graph(2))
    data = path.read_bytes()
    for damaged in (b"", data[:100], data[:-40], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(CompileError, match="is no box"):
            parse_box(str(path), graph(2))


def test_the_largest_box():
    low, high = ends(f"{-FLOAT32_MAX!r},{FLOAT32_MAX!r}", 1)
    is_outward(low[0], high[0], -Fraction(repr(FLOAT32_MAX)), Fraction(repr(FLOAT32_MAX)))


def test_what_it_holds():
    box = parse_box("-1,2", graph(2))
    x = np.array([[-1, 2], [0, 0], [-1.0000001, 0], [0, np.nextafter(2, 3)], [np.nan, 0]])
    assert box.holds("x", x).tolist() == [True, True, False, False, False]
