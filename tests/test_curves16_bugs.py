# SPDX-License-Identifier: Apache-2.0
"""Functions and softmax of 16 bits: every domain holds what happens, and a bug in any rule is seen."""

from fractions import Fraction

import numpy as np
import pytest
import samples
import test_curves16
from pair_nets import Pair, broken
from row_nets import STORED, WIDE, _Builder, random_groups
from test_curves16 import parts
from test_rows import check

from tinybound.checker import curves as checker_curves
from tinybound.domains import extremes, interval, pair_table
from tinybound.domains.exact import Exact
from tinybound.domains.pair_softmax import Law
from tinybound.graph import Graph
from tinybound.ops import Gelu, HardSigmoid, HardSwish, LeakyRelu, Sigmoid
from tinybound.ops.base import Sample, Scaled
from tinybound.passes.activations import add_activations
from tinybound.quantise.lower import lower
from tinybound.quantise.weights import choose_weights
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import Artefact, packed
from tinybound.simulate.host import Host
from tinybound.targets.c import generate_c
from tinybound.targets.layout import lay_out

IN, OUT = Scaled(Fraction(1, 4000), -77, -32768, 32767), Scaled(Fraction(1, 9000), -3001, -32768, 32767)
FUNCTIONS = (HardSwish(), LeakyRelu(-0.5), Gelu(), Sigmoid(), HardSigmoid(0.5, 0.25))
BOXES = (  # middles at kinks, in slopes and where the output saturates; wide and a point
    (np.array([-3.0, 3.0, 0.0, -1.5, 5.0, 0.5]), 0.01),
    (np.array([-3.0, 3.0, 0.0, -1.5, 5.0, 0.5]), 0.0),
    (np.linspace(-7.5, 7.5, 6), 1.5),
)


def bounded(seed, fn, middle, radius):
    """What the domains do not hold, of one function alone."""
    real, whole = samples.build("c", [("c", Sample(fn, ((6,),), (IN,), OUT))], relu=False)
    assert type(whole.node("c").op).__name__ == "Curve"
    box = {"c.x0": middle - radius}, {"c.x0": middle + radius}
    return broken(Pair(real, whole, *box), seed, 8)


def all_bounded():
    for i, fn in enumerate(FUNCTIONS):
        for middle, radius in BOXES:
            assert bounded(i, fn, middle, radius) == set()


def test_every_domain_holds_both_networks():
    all_bounded()


def other_entries(m):
    """An index that is 8 bits' or so."""
    true = pair_table.Pointwise.reach
    m.setattr(pair_table.Pointwise, "reach", lambda self, box: tuple(n + 128 for n in true(self, box)))


def no_rho(m):
    """The curve taken for the function itself."""
    true = pair_table.Pointwise.__init__

    def init(self, step, unit):
        true(self, step, unit)
        self.rho = 0 * self.rho[0], 0 * self.rho[1]

    m.setattr(pair_table.Pointwise, "__init__", init)


def halved_slopes(m):
    true = pair_table.Pointwise.__init__

    def init(self, step, unit):
        true(self, step, unit)
        self.slope = 0.5 * self.slope[0], 0.5 * self.slope[1]

    m.setattr(pair_table.Pointwise, "__init__", init)


def ends_alone(first, last, ends):
    """Extremes at the ends of a range only."""
    return np.minimum(ends[0][first], ends[0][last]), np.maximum(ends[1][first], ends[1][last])


@pytest.mark.parametrize("plant", [other_entries, no_rho, halved_slopes, "between"])
def test_a_wrong_pair_rule_is_seen(plant, monkeypatch):
    if plant == "between":
        monkeypatch.setattr(pair_table, "between", ends_alone)
    else:
        plant(monkeypatch)
    with pytest.raises(AssertionError):
        all_bounded()


def one_short(first, last, ends):
    return extremes.between(first, np.maximum(last - 1, first), ends)


@pytest.mark.parametrize("wrong", [ends_alone, one_short])
def test_a_wrong_interval_rule_is_seen(wrong, monkeypatch):
    monkeypatch.setattr(interval, "between", wrong)
    with pytest.raises(AssertionError):
        test_curves16.test_ranges_are_what_is_seen()


def rounding_down(v, s, _ties):
    return v >> s


def skewed(layer, out):
    """Every piece reads its neighbour's bend."""
    layer.fields["bends"] = np.roll(layer.fields["bends"], 1)
    return checker_curves.read_curve(layer, out)


@pytest.mark.parametrize(
    ("place", "wrong", "name"),
    [
        ((checker_curves, "quotient"), rounding_down, "LeakyRelu"),
        ((checker_curves, "UNIT"), 15, "HardSigmoid"),
        ((test_curves16, "read_curve"), skewed, "Tanh"),
    ],
)
def test_another_reading_of_the_checker_is_seen(place, wrong, name, monkeypatch):
    monkeypatch.setattr(*place, wrong)
    with pytest.raises(AssertionError):
        test_curves16.test_a_curve_is_its_function_within_a_step(name)


def test_a_softmax_that_costs_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(Law, "error", 0.4 / 65536)
    with pytest.raises(AssertionError):
        test_curves16.test_a_softmax_is_within_its_error(1)


def test_another_softmax_is_seen(monkeypatch):
    """The bytes of the exponent exchanged."""
    true = Exact.softmax

    def wrong(self, x, table, *how):
        return true(self, x, table[::-1] if table.ndim == 2 else table, *how)

    monkeypatch.setattr(Exact, "softmax", wrong)
    with pytest.raises(AssertionError):
        test_curves16.test_golden_is_the_law(samples.build("curves", parts(), relu=False)[1])


C = {
    "half up": ("v + 8191 + ((v >> 14) & 1)", "v + 8192"),
    "a knee too late": ("~((in[i] - knee[2 * j]) >> 31)", "~((in[i] - knee[2 * j] - 900) >> 31)"),
    "one knee": ("j < (knees)", "j < (knees) && j < 1"),
    "straight pieces": ("if (bends)", "if (0)"),
    "no saturation above": ("tb_min(tb_max(v + parity, lo), hi)", "tb_min(tb_max(v + parity, lo), hi + 9)"),
    "no parity": ("v + parity", "v + (parity & 0)"),
    "a byte of the exponent": ("256 + (below & 255)", "256 + (below & 127)"),
    "a bit less of a quotient": ("bit <= bits", "bit < bits"),
    "a quotient that is cut": ("- (q & 1)) >>", "+ sum) >>"),
    "a probability of 1": ("tb_min(q + zero, hi)", "(q + zero + 0 * hi)"),
    "a divisor that is too small": ("(int64_t)extra * sum", "(int64_t)extra * 0 * sum"),
}


@pytest.fixture(scope="module")
def whole():
    return samples.build("curves", parts(), relu=False)[1]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if i in (0, 7) else pytest.mark.slow) for i, name in enumerate(C)],
)
def test_a_planted_bug_is_seen(name, whole, tmp_path):
    right, wrong = C[name]
    texts = generate_c(whole)
    assert right in texts["tb_curves16.h"]
    texts["tb_curves16.h"] = texts["tb_curves16.h"].replace(right, wrong)
    x = samples.vectors(whole, 24, 5)
    found = samples.OnMachine(Host())(whole, x, tmp_path, texts=texts)[8]
    assert samples.mismatches(whole, x, found)[0] > 0


@pytest.mark.parametrize(
    "core",
    ["cortex-m0plus", *(pytest.param(core, marks=pytest.mark.slow) for core in ("cortex-m4", "rv32imc"))],
)
def test_every_input_takes_the_same_instructions(core, whole, tmp_path):
    texts, rng = generate_c(whole), np.random.default_rng(3)
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    n = sum(whole.values[name].size for name in whole.inputs)
    turns = np.where(np.arange(n) % 2, -32768, 32767)
    rows = [np.full(n, -32768), np.full(n, 32767), turns, *rng.integers(-32768, 32768, (4, n))]
    data = np.stack(rows).astype("<i2").view(np.int8)
    macros = packed(Artefact(whole, tmp_path, None), core)
    found = Emulated(BOARDS[core]).count_each(tmp_path, "curves", tmp_path, data, 8, macros)
    counts = np.array([[each.total, *each.layers] for each in found])
    assert counts.shape[1] > 20
    assert (counts == counts[0]).all()


def test_words_of_both_lengths(whole):
    """Functions from 16 to 16 and to 8 bits; sums of 32 and of 64."""
    kernels = generate_c(whole)["curves.c"]
    for name in ("curve_int16_int16_8_0", "curve_int16_int8_8_2", "softmax_int16_int16_int32"):
        assert f"(tb_{name}, " in kernels
    assert "(tb_softmax_int16_int16_int64, " in kernels


@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 8))])
def test_functions_run_row_by_row(seed, tmp_path):
    """Between convolutions, in groups of rows as chance wants them."""
    rng = np.random.default_rng(seed)
    net = _Builder(rng, (3, 9, 6))
    for fn in (HardSwish(), Sigmoid(), LeakyRelu(-0.5), Gelu()):
        net.conv(same=True)
        net.add(fn, net.line[-1])
    graph = Graph("rows", ("x",), (net.line[-1],), tuple(net.nodes), net.values)
    known = {name: WIDE for name in net.values if not name.endswith(".sum")}
    known |= {name: STORED for name in net.line[2:] if rng.integers(4) == 0}
    graph, known = add_activations(graph, known)
    whole = lower(graph, known, choose_weights(graph, {}, {}, power_of_two=False))
    plan, groups = random_groups(whole, rng)
    kinds = [step.kind for group in groups for step in group.steps]
    assert "curve" in kinds, kinds
    assert check(whole, lay_out(plan, groups, "caller", final=False), Host(sanitize=True), tmp_path, 12)
