# SPDX-License-Identifier: Apache-2.0
"""Exact passes: the float meaning stays, and the shape that each pass promises is there."""

from fractions import Fraction

import numpy as np
import pytest
import samples

from tinybound.domains.exact import Exact, run
from tinybound.domains.interval import Interval
from tinybound.errors import CompileError
from tinybound.graph import Graph, Node, Value
from tinybound.ops import ChannelAffine, Clip, Conv, Dense, MaxPool, Requantise, Reshape, Transpose
from tinybound.ops.base import Scaled
from tinybound.passes.activations import add_activations
from tinybound.passes.fold_channel_affine import fold_channel_affine
from tinybound.passes.layout import channels_last, columns, movement, orders
from tinybound.passes.rewrite import fresh
from tinybound.quantise.lower import lower
from tinybound.quantise.weights import choose_weights

UNIT = Scaled(Fraction(1, 64), 3, -128, 127)
OTHER = Scaled(Fraction(1, 32), -128, -128, 127)


def line(shape, *ops, name="net"):
    """Ops one after another."""
    values, nodes, last = {"x": Value("x", shape)}, [], "x"
    for i, op in enumerate(ops):
        values[f"v{i}"] = Value(f"v{i}", op.shape(values[last].shape))
        nodes.append(Node(f"n{i}", op, (last,), f"v{i}"))
        last = f"v{i}"
    return Graph(name, ("x",), (last,), tuple(nodes), values)


def dense(rng, outputs, inputs):
    return Dense(rng.normal(0, 1, (outputs, inputs)), rng.normal(0, 1, outputs))


def same(before, after, seed=0):
    """The outputs agree to a few units in the last place."""
    rng = np.random.default_rng(seed)
    for _ in range(5):
        x = {n: rng.normal(0, 1, before.values[n].shape) for n in before.inputs}
        one, two = run(before, x), run(after, x)
        for name in before.outputs:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-12, atol=1e-12)


# -- activations ------------------------------------------------------------------------------------


def kinds(graph):
    return [type(n.op).__name__ for n in graph.nodes]


def test_a_sum_gets_an_activation():
    graph = line((3,), dense(np.random.default_rng(0), 4, 3), Reshape((2, 2)))
    after, known = add_activations(graph, {})
    assert kinds(after) == ["Dense", "Clip", "Reshape"]
    assert (after.nodes[1].op.lo, after.nodes[1].op.hi) == (-np.inf, np.inf)
    assert known == {}
    same(graph, after)


def test_a_relu_is_used_where_it_can_be():
    rng = np.random.default_rng(0)
    graph = line((3,), dense(rng, 4, 3), Clip(0.0))
    assert kinds(add_activations(graph, {})[0]) == ["Dense", "Clip"]
    # A sum that is itself stored (quantised, an output, or read twice) is rounded before its Relu.
    assert kinds(add_activations(graph, {"v0": UNIT})[0]) == ["Dense", "Clip", "Clip"]
    both = Graph("net", ("x",), ("v0", "v1"), graph.nodes, graph.values)
    assert kinds(add_activations(both, {})[0]) == ["Dense", "Clip", "Clip"]
    same(both, add_activations(both, {})[0])


def test_a_change_of_quantisation_gets_a_step():
    graph = line((1, 2, 2), MaxPool((1, 2, 2), (2, 2)))
    assert kinds(add_activations(graph, {"x": UNIT, "v0": UNIT})[0]) == ["MaxPool"]
    after, _ = add_activations(graph, {"x": UNIT, "v0": OTHER})
    assert kinds(after) == ["MaxPool", "Clip"]
    assert after.nodes[1].op.lo == -np.inf
    same(graph, after)


def test_quantisation_moves_through_reordering_ops():
    rng = np.random.default_rng(1)
    conv = Conv(rng.normal(0, 1, (2, 1, 1, 1)), np.zeros(2), (1, 2, 2))
    graph = line((1, 2, 2), conv, MaxPool((2, 2, 2), (2, 2)), Reshape((2,)))
    _, known = add_activations(graph, {"v2": UNIT})
    assert known == {"v0": UNIT, "v1": UNIT, "v2": UNIT}
    _, known = add_activations(graph, {"v0": OTHER})
    assert known == {"v0": OTHER, "v1": OTHER, "v2": OTHER}


def test_a_folded_relu_is_found_by_its_zero_point():
    graph = line((3,), dense(np.random.default_rng(0), 4, 3))
    for scaled, low in ((OTHER, 0.0), (UNIT, -np.inf)):
        assert add_activations(graph, {"v0": scaled})[0].nodes[1].op.lo == low


# -- folding ----------------------------------------------------------------------------------------


def affine(rng, channels):
    numbers = rng.normal(0, 1, (2, channels))
    return ChannelAffine.line(*(tuple(Fraction(float(v)) for v in row) for row in numbers))


@pytest.mark.parametrize("shape", [(3,), (3, 2, 4)])
def test_factors_fold_into_the_layer_before_or_become_one(shape):
    rng = np.random.default_rng(2)
    layer = (
        dense(rng, 3, 3)
        if len(shape) == 1
        else Conv(rng.normal(0, 1, (3, 3, 1, 1)), rng.normal(0, 1, 3), shape)
    )
    by = affine(rng, 3)
    folded = fold_channel_affine(line(shape, layer, by))
    alone = fold_channel_affine(line(shape, by))
    after_relu = fold_channel_affine(line(shape, layer, Clip(0.0), by))

    one = ["Conv"] if len(shape) == 3 else ["Reshape", "Conv", "Reshape"]  # of a vector: on a map
    assert kinds(folded) == ["Conv" if len(shape) == 3 else "Dense"]
    assert kinds(alone) == one
    assert kinds(after_relu) == [*kinds(folded), "Clip", *one]
    each = (-1, *(1,) * (len(shape) - 1))
    factor, offset = (np.array([float(v) for v in row]).reshape(each) for row in (by.factor, by.offset))
    for graph, before in (
        (folded, line(shape, layer)),
        (alone, None),
        (after_relu, line(shape, layer, Clip(0.0))),
    ):
        for _ in range(5):
            x = rng.normal(0, 1, shape)
            inner = x if before is None else run(before, {"x": x})[before.outputs[0]]
            got = run(graph, {"x": x})[graph.outputs[0]]
            np.testing.assert_allclose(got, inner * factor + offset, rtol=1e-12, atol=1e-12)


def test_a_layer_with_two_readers_is_not_folded():
    rng = np.random.default_rng(3)
    graph = line((3,), dense(rng, 3, 3), affine(rng, 3))
    both = Graph("net", ("x",), ("v0", "v1"), graph.nodes, graph.values)
    after = fold_channel_affine(both)
    assert kinds(after) == ["Dense", "Reshape", "Conv", "Reshape"]
    np.testing.assert_array_equal(after.nodes[0].op.weights, graph.nodes[0].op.weights)


def test_folding_rounds_each_number_once():
    rng = np.random.default_rng(4)
    layer, by = dense(rng, 3, 5), affine(rng, 3)
    op = fold_channel_affine(line((5,), layer, by)).nodes[0].op
    for o in range(3):
        for i in range(5):
            assert op.weights[o, i] == float(by.factor[o] * Fraction(float(layer.weights[o, i])))
        assert op.bias[o] == float(by.factor[o] * Fraction(float(layer.bias[o])) + by.offset[o])


def test_folding_that_overflows_is_refused():
    layer = Dense(np.full((1, 1), 1e300), np.zeros(1))
    with pytest.raises(CompileError, match=r"^n1: a product that no double holds"):
        fold_channel_affine(line((1,), layer, ChannelAffine.line((Fraction(10) ** 300,), (Fraction(0),))))


def test_fresh_names():
    assert fresh("a", {"b"}) == "a"
    assert fresh("a", {"a", "a_2"}) == "a_3"


# -- layout -----------------------------------------------------------------------------------------


def test_channels_last():
    logical = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(
        logical.ravel()[channels_last((2, 3, 4))], np.moveaxis(logical, 0, -1).ravel()
    )
    np.testing.assert_array_equal(channels_last((5,)), np.arange(5))
    np.testing.assert_array_equal(channels_last((2, 3)), np.arange(6))


def physical(graph, values, order, name):
    return values[name].ravel()[order[name]]


def test_a_flatten_before_a_dense_layer_moves_nothing():
    rng = np.random.default_rng(5)
    graph = line((2, 3, 3), Reshape((18,)), dense(rng, 4, 18))
    order = orders(graph)
    np.testing.assert_array_equal(order["v0"], order["x"])
    assert movement(graph, graph.nodes[0], order) is None
    x = rng.normal(0, 1, (2, 3, 3))
    stored = physical(graph, {"x": x}, order, "x")
    weights = graph.nodes[1].op.weights[:, columns(graph.nodes[1], order)]
    np.testing.assert_allclose(weights @ stored + graph.nodes[1].op.bias, run(graph, {"x": x})["v1"])


@pytest.mark.parametrize(
    ("shape", "op"),
    [
        ((2, 3, 4), Reshape((24,))), ((24,), Reshape((2, 3, 4))), ((2, 3, 4), Reshape((4, 6))),
        ((2, 3, 4), Reshape((4, 3, 2))), ((2, 3, 4), Transpose((2, 3, 4), (1, 2, 0))),
        ((2, 3, 4), Transpose((2, 3, 4), (2, 0, 1))), ((4, 6), Transpose((4, 6), (1, 0))),
        ((1, 3, 4), Reshape((12,))),
    ],
)  # fmt: skip
def test_movements_are_the_ops_meaning(shape, op):
    """physical_out[i] = physical_in[movement[i]], and None means that nothing moves."""
    graph = line(shape, op)
    order = orders(graph)
    x = np.random.default_rng(6).permutation(int(np.prod(shape))).reshape(shape)
    values = run(graph, {"x": x})
    before, after = physical(graph, values, order, "x"), physical(graph, values, order, "v0")
    moved = movement(graph, graph.nodes[0], order)
    np.testing.assert_array_equal(before if moved is None else before[moved], after)
    assert moved is None or not (before == after).all()


# -- run-time bits and ranges -----------------------------------------------------------------------


def residual(rng):
    """x -> Dense -> Relu -> (Dense -> Clip) + itself: values that depend on each other."""
    from tinybound.ops import Add

    values = {n: Value(n, (4,)) for n in ("x", "a.t", "a", "b.t", "b", "c.t", "c")}
    nodes = (
        Node("a", dense(rng, 4, 4), ("x",), "a.t"), Node("ar", Clip(0.0), ("a.t",), "a"),
        Node("b", dense(rng, 4, 4), ("a",), "b.t"), Node("br", Clip(), ("b.t",), "b"),
        Node("c", Add(), ("a", "b"), "c.t"), Node("cr", Clip(0.0), ("c.t",), "c"),
    )  # fmt: skip
    real = Graph("residual", ("x",), ("c",), nodes, values)
    wanted = {"x": UNIT, "a": OTHER, "b": Scaled(Fraction(1, 20), 5, -128, 127), "c": OTHER}
    return lower(real, wanted, choose_weights(real, {}, {}, power_of_two=False))


@pytest.mark.parametrize("seed", range(4))
def test_ranges_of_dependent_values_contain_what_occurs(seed):
    rng = np.random.default_rng(seed)
    graph = residual(rng)
    low = rng.integers(-128, 120, 4)
    high = np.minimum(low + rng.integers(0, 40, 4), 127)
    boxes = run(graph, {"x": (low, high)}, Interval())
    compared = 0
    for _ in range(300):
        for name, value in run(graph, {"x": rng.integers(low, high + 1)}).items():
            assert (boxes[name][0] <= value).all(), name
            assert (value <= boxes[name][1]).all(), name
            compared += value.size
    print(f"{compared} integers contained")


# -- planted bugs: the checks of test_ops and of this file see them ----------------------------------


class LowByOne(Interval):
    """An upper end that is one too small."""

    def affine(self, x, weights, bias, zero):
        low, high = super().affine(x, weights, bias, zero)
        return low, high - 1


class HighByOne(Interval):
    """Sound, but not tight."""

    def affine(self, x, weights, bias, zero):
        low, high = super().affine(x, weights, bias, zero)
        return low, high + 1


class NoZero(Exact):
    """The golden model without input zero points."""

    def affine(self, x, weights, bias, zero):
        return super().affine(x, weights, bias, 0)


class PadsWithZero(Exact):
    """The golden model that pads with 0, not with the zero point."""

    def gather(self, x, index, pad):
        return super().gather(x, index, 0)


class HalfUp(Exact):
    """The golden model with the other tie rule."""

    def requantise(self, x, m, s, zero_in, zero, lo, hi, mode):
        assert mode == "half-even"
        each = (-1, *(1,) * (x.ndim - 1))
        m, s = m.reshape(each), s.reshape(each)
        half = np.where(s > 0, np.int64(1) << np.maximum(s - 1, 0), 0)
        return np.clip((((x - zero_in) * m + half) >> s) + zero, lo, hi)


def case(name):
    return next(c.whole for c in samples.cases(relu=False) if c.name == name)


@pytest.fixture
def table():
    """The check functions of test_ops.py."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("table_of_ops", Path(__file__).with_name("test_ops.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_planted_range_rule_is_seen(table):
    graph = case("Conv0")
    assert table.range_differences(graph, Interval(), seed=1)[:2] == (0, 0)
    assert table.range_differences(graph, LowByOne(), seed=1)[0] > 0
    lost, loose, _ = table.range_differences(graph, HighByOne(), seed=1)
    assert loose > 0
    assert lost == 0


@pytest.mark.parametrize("name", ["Conv0", "Dense0", "AveragePool0"])
def test_a_dropped_zero_point_is_seen(name, table):
    graph = case(name)
    x = samples.vectors(graph, 6, seed=2)
    assert table.against_the_law(graph, x)[0] == 0
    assert table.against_the_law(graph, x, NoZero())[0] > 0


def test_wrong_padding_is_seen(table):
    graph = case("Conv0")
    x = samples.vectors(graph, 4, seed=2)
    assert table.against_the_law(graph, x, PadsWithZero())[0] > 0


def test_another_tie_rule_is_seen(table):
    values = {n: Value(n, (64,)) for n in ("x", "y")}
    op = Requantise(np.array([1]), np.array([1]), 0, 0, -128, 127)
    graph = Graph("ties", ("x",), ("y",), (Node("r", op, ("x",), "y", "f"),), values)
    x = {"x": np.arange(-32, 32)[None]}
    assert table.against_the_law(graph, x)[0] == 0
    assert table.against_the_law(graph, x, HalfUp())[0] == 16  # every other tie
