# SPDX-License-Identifier: Apache-2.0
"""The law of softmax in any scale: what it is off by, its exact ranges, pairs, and planted mistakes."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import samples
import slow
from pair_nets import NONE, RELU, Sketch, broken

from tinybound.checker import shares
from tinybound.checker.backward import Sum, Tape
from tinybound.checker.layers import Layer, Meaning
from tinybound.checker.share_rows import sums
from tinybound.domains import exponentials, pair_softmax
from tinybound.domains.exact import Exact
from tinybound.domains.interval import Interval
from tinybound.domains.pair_back import Root, Rows, Total
from tinybound.domains.pair_box import Box
from tinybound.ops import Mul, Reshape, Softmax, Transpose
from tinybound.ops.base import Scaled
from tinybound.simulate.host import Host

pytestmark = pytest.mark.usefixtures("quick_attack")


def random_law(rng):
    """A softmax of 8 or 16 bits for random scales."""
    wide = bool(rng.integers(2))
    top = 32767 if wide else 127
    steps = int(rng.choice([2, 16, 200, 10_000, 300_000 if wide else 5000]))
    read = Scaled(Fraction(1, steps), 0, -top - 1, top)
    step = rng.choice([1 / 256, 1 / 255, 1 / 127, 1 / 300, 0.0123, 1.0, 1 / 65535, 1 / 65536, 2.0**-24])
    scale = Fraction(float(np.float32(step)))
    low, high = (-128, 127) if scale > Fraction(1, 1000) else (-32768, 32767)
    zero = int(rng.choice([low, low, 0, 100]))
    return Softmax.of(read, Scaled(scale, zero, low, high)), read, scale


def test_golden_is_the_law():
    rng, compared = np.random.default_rng(0), 0
    for _ in range(200):
        op, read, _ = random_law(rng)
        x = rng.integers(read.lo, read.hi + 1, (3, int(rng.integers(1, 9))))
        x[1], x[2] = x[1] // (read.hi // 4), read.hi
        np.testing.assert_array_equal(op.meaning(Exact(), x), slow.softmax(op, x))
        compared += x.size
    print(f"{compared} integers compared")


def off_by(seed):
    """The largest distance of an integer from the real softmax, in parts of what its law allows."""
    rng, worst = np.random.default_rng(seed), 0.0
    for _ in range(60):
        op, read, scale = random_law(rng)
        x = rng.integers(read.lo, read.hi + 1, (40, int(rng.integers(1, 40))))
        x //= rng.choice([1, 8, 64], (40, 1))
        p = Exact().softmax(x * float(read.scale), np.zeros(0, np.int64))
        law = pair_softmax.Law.of(op.table, (op.bits, op.extra, op.zero, op.top), scale, x.shape[-1])
        y = float(scale) * (op.meaning(Exact(), x) - op.zero)
        worst = max(worst, float((np.abs(y - p) / law.error).max()))
        assert (y >= np.minimum(p - law.near, law.top) - 1e-9).all()
    return worst


def small_box(rng, read):
    """Near the ends of a word, or not."""
    n = int(rng.integers(1, 5))
    low = rng.integers(read.lo, read.hi - 3, n) if rng.integers(2) else rng.integers(-6, 6, n)
    return low, low + rng.integers(0, 4, n)


def loose_ranges(seed, count=150):
    """Ends of ranges, of the compiler and of the checker, that brute force does not give."""
    rng, lost = np.random.default_rng(seed), np.zeros(2, int)
    for _ in range(count):
        op, read, _ = random_law(rng)
        low, high = small_box(rng, read)
        points = np.array(list(product(*(range(a, b + 1) for a, b in zip(low, high, strict=True)))))
        seen = op.meaning(Exact(), points)
        fields = {key: getattr(op, key) for key in ("table", "bits", "extra", "zero", "top")}
        both = (
            op.meaning(Interval(), (low, high)),
            shares.share_span(Layer("n", "", (), "", fields), low, high),
        )
        for k, (least, most) in enumerate(both):
            lost[k] += (least != seen.min(axis=0)).sum() + (most != seen.max(axis=0)).sum()
    return lost


def test_both_laws_cost_the_same():
    """The prover's and the checker's."""
    rng = np.random.default_rng(5)
    for n in rng.integers(1, 300, 100):
        op, _, scale = random_law(rng)
        mine = pair_softmax.Law.of(op.table, (op.bits, op.extra, op.zero, op.top), scale, int(n))
        fields = {key: getattr(op, key) for key in ("table", "bits", "extra", "zero", "top")}
        meaning = Meaning((scale,), op.zero, -32768, 32767)
        other = shares.Share.of(Layer("n", "", (), "", fields), meaning, int(n), (0, 0))
        assert other.error() == pytest.approx(mine.error, rel=1e-12)
        assert other.near == pytest.approx(mine.near, rel=1e-12)


def test_probabilities_of_a_box():
    """Corners, in many digits, lie inside; the checker's ranges are those, a rounding less wide."""
    rng = np.random.default_rng(6)
    for _ in range(60):
        low = rng.normal(0, rng.choice([0.01, 1, 60, 900]), (2, int(rng.integers(1, 7))))
        high = low + rng.exponential(rng.choice([1e-3, 1, 50]), low.shape)
        ends, checked = exponentials.probabilities(low, high), shares.real_span(low, high)
        for i, side in product(range(low.shape[1]), (0, 1)):
            own, others = (low, high) if side == 0 else (high, low)
            x = others.copy()
            x[:, i] = own[:, i]
            for k in range(2):
                exact = [Decimal(v).exp() for v in x[k].tolist()]
                p = exact[i] / sum(exact)
                for found in (ends, checked):
                    assert (found[0][k, i] <= p) if side == 0 else (found[1][k, i] >= p)
                assert abs(Decimal(float(ends[side][k, i])) - p) < Decimal(2) ** -40
        assert (ends[0] <= checked[0]).all()
        assert (ends[1] >= checked[1]).all()


def test_the_largest_of_the_others():
    """Of equal ones too; by the prover and by the checker."""
    for x in np.random.default_rng(7).integers(-2, 3, (200, 4)).astype(float):
        want = [max(x[:i].tolist() + x[i + 1 :].tolist()) for i in range(4)]
        assert exponentials.largest_other(x[None])[0].tolist() == want
        assert shares._other(x[None])[0].tolist() == want


def test_rows_of_shares():
    """What rows come to at points of a box whose x add up to 1, whose d nearly to 0; prover and checker."""
    rng, better = np.random.default_rng(8), 0
    for _ in range(30):
        n, near, top = int(rng.integers(1, 6)), float(rng.choice([1e-3, 0.02])), int(rng.choice([200, 255]))
        x = Exact().softmax(rng.normal(0, 1, (40, 2, n)), np.zeros(0, np.int64))
        d = rng.uniform(-near, near, x.shape)
        x, y = x.reshape(40, -1), (x + d).reshape(40, -1)
        ends = [f(part, axis=0).reshape(2, n) for part in (x, y, y - x) for f in (np.min, np.max)]
        a = rng.normal(0, 1, (2, 2 * n, 7))
        a[1, :, :3] = 0
        share = shares.Share(Fraction(1, 256), top, (0, 255), near)
        total = Total(np.zeros(7))
        off = n * near + 1 - top / 256
        pair_softmax.Sums(Box(*ends), off).back(Rows(a[0], a[1]), total)
        tape, out = Tape(), Sum(7)
        place = sums(tape, np.stack(ends), share)
        tape.nodes[place].back(a, out)
        plain = Total(np.zeros(7))
        Root(Box(*ends)).back(Rows(a[0], a[1]), plain)
        np.testing.assert_allclose(out.value, total.value, rtol=1e-9, atol=1e-12)
        assert ((x @ a[0] + (y - x) @ a[1]).max(axis=0) <= total.value + 1e-12).all()
        assert (total.value <= plain.value + 1e-12).all()
        better += (total.value < 0.9 * plain.value).sum()
    assert better > 10


@pytest.mark.parametrize("seed", [0, 1])
def test_ranges_are_what_brute_force_gives(seed):
    assert loose_ranges(seed).tolist() == [0, 0]


def test_the_corners_of_a_box_are_not_enough():
    """An element's share can rise with the largest one: the others' exponentials are rounded anew."""
    read, fine = Scaled(Fraction(1, 5000), 0, -128, 127), Scaled(Fraction(1, 60_000), -32768, -32768, 32767)
    op, rises = replace(Softmax.of(read, fine), table=Softmax.of(read, Softmax.out).table), 0
    for gap in range(1, 100):
        x = np.array([[top, -5, *[-gap] * 40] for top in (0, 1)])
        q = op.meaning(Exact(), x)[:, 1]
        low, high = op.meaning(Interval(), (x[0], x[1]))
        assert (low[1], high[1]) == (q.min(), q.max())
        rises += q[1] > q[0]
    print(f"{rises} of 99 shares rise")
    assert rises > 0


@pytest.mark.slow
def test_the_longest_rows_leave_no_word(tmp_path):
    """All equal, and in steps that make the divisor nearly twice the sum: sanitized C."""
    n, found = 1 << 14, []
    for read, written in (
        (Scaled(Fraction(1, 16), 0, -128, 127), Scaled(Fraction(1, 130), -128, -128, 127)),
        (Scaled(Fraction(1, 4096), 0, -32768, 32767), Scaled(Fraction(1, (1 << 15) + 1), -5, -32768, 32767)),
    ):
        found.append((f"s{len(found)}", samples.Sample(Softmax(), ((n,),), (read,), written)))
    for count in (32, 33):  # the most that sums of 32 bits hold, and one more
        sample = samples.Sample(Softmax(), ((count,),), (read,), written)
        found.append((f"s{len(found)}", sample))
    whole = samples.build("long", found, relu=False)[1]
    x = {name: np.zeros((2, *whole.values[name].shape), np.int64) for name in whole.inputs}
    for each in x.values():
        each[1] = np.arange(each.shape[1]) % 200 - 100

    got = samples.OnMachine(Host(sanitize=True))(whole, x, tmp_path)[8]

    wrong, compared, first = samples.mismatches(whole, x, got)
    print(f"{compared} integers compared")
    assert wrong == 0, first
    assert {node.op.extra > 1 << 23 for node in whole.nodes} == {True}


# -- pairs ----------------------------------------------------------------------------------------


def pair(seed):
    """Shares of rows and of a vector, scaled by what they are computed from."""
    rng = np.random.default_rng(seed)
    wide = float(rng.choice([0.01, 0.2, 1.0, 4.0]))
    middle = rng.uniform(-1, 1, 4)
    s = Sketch(seed, (4,), lower=middle - wide, upper=middle + wide, two=bool(rng.integers(2)))
    a = s.dense("x", 6, NONE)
    if seed % 3 == 0:
        rows = s.put(Reshape((2, 3)), a)
        p = s.flat(s.put(Transpose((2, 3), (1, 0)), s.put(Softmax(), rows)))
    else:
        p = s.put(Softmax(), a)
    h = s.put(RELU, s.put(Mul(), p, a)) if seed % 2 else p
    return s.build(s.dense(h, 3, NONE), squeeze=float(rng.choice([0.5, 1.0, 1.3])))


@pytest.mark.parametrize("seed", range(8))
def test_ranges_of_pairs_hold_the_truth(seed):
    assert broken(pair(seed), seed, 12) == set()


def test_every_probability_is_within_its_law():
    for seed in range(3):
        assert 0.5 < off_by(seed) <= 1.0


# -- the checks are checked -----------------------------------------------------------------------


def nothing_moves(p, _g):
    return 0 * p[0], 0 * p[1]


def one_corner(low, high):
    return exponentials.probabilities(low, low)[0], exponentials.probabilities(high, high)[1]


def own_only(x):
    return 0 * x


def free(*_):
    return pair_softmax.Law(0.0, 1.0, 0, rows=2, plain=True)


def unpaid(self, rows, total):
    """A number taken off all coefficients, for nothing."""
    t = np.median(rows.x, axis=0)
    return Root.back(self, Rows(rows.x - t, rows.d), total)


PLANTED = {
    "sums that cost nothing": (pair_softmax.Sums, "back", unpaid),
    "integers that cost nothing": (pair_softmax.Law, "of", free),
    "no movement": (pair_softmax, "moved", nothing_moves),
    "one corner of a box": (pair_softmax, "probabilities", one_corner),
    "others stand still": (pair_softmax, "largest_other", own_only),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_mistake_is_seen(plant, monkeypatch):
    monkeypatch.setattr(*PLANTED[plant])
    assert any(broken(pair(seed), seed, 12) for seed in range(4))


def test_a_law_that_costs_less_is_seen(monkeypatch):
    true = pair_softmax.Law.__init__

    def cheaper(self, step, top, n, **how):
        true(self, 0.3 * step, top, n, **how)

    monkeypatch.setattr(pair_softmax.Law, "__init__", cheaper)
    with pytest.raises(AssertionError):
        off_by(0)


def test_wrong_ranges_are_seen(monkeypatch):
    """Of the compiler and of the checker: without the largest element, and with divisors as they are."""
    true = exponentials.shares
    with monkeypatch.context() as patch:
        patch.setattr(
            exponentials, "shares", lambda e, total, bits, _x, *more: true(e, total, bits, 0, *more)
        )
        assert loose_ranges(0, 40)[0] > 0
    own = shares.stored
    with monkeypatch.context() as patch:
        patch.setattr(shares, "stored", lambda layer, e, total: own(layer, e, total + e))
        assert loose_ranges(0, 40)[1] > 0
