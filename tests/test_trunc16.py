# SPDX-License-Identifier: Apache-2.0
"""QONNX's Trunc of up to 16 bits: every integer, and the sum of a window that Brevitas truncates."""

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx_nets import Net
from pipeline import same_network
from replay import integer_graph
from test_qonnx import MAP, Quants, operators, truncated
from test_quantised_forms import differences

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.ops.base import Scaled
from tinybound.ops.trunc import Trunc
from tinybound.options import Options
from tinybound.quantise.curves import truncation

pytestmark = pytest.mark.usefixtures("quick_attack")

EVERY = range(-(1 << 15), 1 << 15)
UNIT = Scaled(Fraction(1, 64), 0, EVERY[0], EVERY[-1])
RULES = {"FLOOR": floor, "CEIL": ceil, "ROUND": round}


@pytest.mark.parametrize("rounding", RULES)
@pytest.mark.parametrize("lost", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8)), 8])
def test_every_integer(lost, rounding):
    out = replace(UNIT, scale=UNIT.scale * (1 << lost), lo=-4000, hi=4001)
    c = truncation("t", Trunc(1.0, 0.0, rounding), UNIT, out)
    want = [min(max(RULES[rounding](Fraction(q, 1 << lost)), -4000), 4001) for q in EVERY]
    assert c.entries.tolist() == want
    assert len(c.knots) == 257 if lost < 6 else len(c.knots) <= 2049


def test_zero_points_and_scales_that_are_no_powers_of_two():
    """Both versions of the operator; to the nearest only where the zero point is even."""
    scale, zero, lost = Fraction(float(np.float32(0.013))), 1000, 4
    source = replace(UNIT, scale=scale, zero=zero)
    for rounding, rule in RULES.items():
        out = replace(UNIT, scale=scale, zero=zero)
        offset = float(scale * zero * (Fraction(1, 1 << lost) - 1))
        c = truncation("t", Trunc(1 / (1 << lost), offset, rounding), source, out)
        assert c.entries.tolist() == [rule(Fraction(q, 1 << lost)) for q in EVERY]
    odd = replace(UNIT, scale=scale, zero=1001)
    with pytest.raises(CompileError, match="t: a Trunc of 16-bit integers that 2049 knots do not give"):
        truncation("t", Trunc(0.5, float(scale * 1001 * Fraction(-1, 2)), "ROUND"), odd, odd)


TRUNCS = {  # the Trunc's numbers, attributes
    "10 bits": ((1 / 16, 0, 10, 6), {}),
    "15 bits": ((1 / 16, 0, 15, 8), {"rounding_mode": "CEIL"}),
    "to another scale": ((1 / 16, 0, 12, 0.5, 8), {"rounding_mode": "ROUND"}),
    "16 bits, clamped": ((1 / 16, 8, 16, 0.5, 9), {"narrow": 1}),
    "unsigned": ((1 / 16, 0, 12, 1.0, 6), {"signed": 0}),
    "to more than 8 bits": ((1 / 16, 0, 15, 12), {}),
}


@pytest.mark.parametrize("form", TRUNCS)
def test_a_tensor_that_nothing_has_quantised(form, tmp_path):
    numbers, attributes = TRUNCS[form]
    t = Quants((1, 64))
    y = t.put("Trunc", "x", *(t.net.constant(n) for n in numbers), **attributes)
    path = t.save(tmp_path, y)
    imported, whole = integer_graph(path)
    (name,), unit = whole.outputs, whole.values["x"].quant
    low = 0 if attributes.get("signed") == 0 else -(1 << int(numbers[2] - 1))
    q = np.random.default_rng(0).integers(low, low + (1 << int(numbers[2])), (40, 64))

    for row in q:
        real = (row - numbers[1]) * numbers[0]
        got = run(whole, {"x": np.rint(real / float(unit.scale[0])).astype(int) + unit.zero})[name]
        out = whole.values[name].quant
        want = truncated(real, *numbers, **attributes)
        np.testing.assert_array_equal((got - out.zero) * float(out.scale[0]), want)
    assert same_network(path) == 1
    assert imported.quantised


def truncator(name):
    """Trunc of a domain for the reference evaluator."""

    class Trunc(OpRun):
        op_domain = name

        def _run(self, *x, signed=1, narrow=0, rounding_mode="FLOOR"):
            more = {"signed": signed, "narrow": narrow, "rounding_mode": rounding_mode}
            return (truncated(x[0], *map(float, x[1:]), **more),)

    return Trunc


def average(t, x, window, more, mode="AveragePool"):
    """A mean, times the number of its taps, and truncated: as Brevitas writes an average of integers."""
    pool = {"kernel_shape": window, "strides": window} if mode == "AveragePool" else {}
    y = t.net.put("Mul", t.net.put(mode, x, **pool), t.net.constant(float(np.prod(window))))
    return t.put("Trunc", y, *(t.net.constant(float(n)) for n in more))


@pytest.mark.parametrize(
    ("window", "mode", "numbers"),
    [
        ((2, 2), "AveragePool", (0.25, 0, 10, 8)),
        pytest.param((3, 3), "AveragePool", (0.25, 0, 12, 8), marks=pytest.mark.slow),
        pytest.param((6, 6), "GlobalAveragePool", (0.25, 0, 14, 8), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_truncated_average_is_exact(window, mode, numbers, tmp_path):
    t = Quants(MAP)
    path = t.save(tmp_path, average(t, t.quant("x", 0.25, 8), window, numbers, mode))

    reference = ReferenceEvaluator(str(path), new_ops=[*operators(t.domain), truncator(t.domain)])
    differing, compared, _, graph = differences(path, MAP, reference=reference)

    assert (differing, [type(n.op).__name__ for n in graph.nodes][-1]) == (0, "Curve")
    assert compared >= 80
    assert same_network(path) == 3
    build = compile_model(path, tmp_path / "build", Options(domain="-2,2", target="c"))
    assert build.verify(["host"]).ok
    found = check_certificate(tmp_path / "build" / "certificate.json", tmp_path / "build")
    assert found["accepted"], found["reason"]


def test_a_mean_times_another_number_is_no_sum(tmp_path):
    net = Net(*MAP)
    y = net.put("AveragePool", net.quantised("x", 0.25, 0, np.int8), kernel_shape=[2, 2])
    path = net.save(tmp_path, net.quantised(net.put("Mul", y, net.constant(2.0)), 0.25, 0, np.int8))
    _, graph = integer_graph(path)
    assert sum(type(n.op).__name__ == "Conv" for n in graph.nodes) == 1
    assert same_network(path) > 2
