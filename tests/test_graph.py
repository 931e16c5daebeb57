# SPDX-License-Identifier: Apache-2.0
"""The graph is frozen, and check() refuses every kind of illegal graph by name."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import samples

from tinybound.errors import CompileError, PromiseError, TinyboundError, ToolMissing
from tinybound.graph import Graph, Node, Quant, Value, check
from tinybound.ops import Clip, Dense, Reshape
from tinybound.ranges import Range


def real():
    """x -> Dense -> Clip -> Reshape."""
    values = {n: Value(n, s) for n, s in {"x": (3,), "t": (4,), "y": (4,), "z": (2, 2)}.items()}
    nodes = (
        Node("dense", Dense(np.ones((4, 3)), np.zeros(4)), ("x",), "t"),
        Node("clip", Clip(0.0), ("t",), "y"),
        Node("shape", Reshape((2, 2)), ("y",), "z"),
    )
    return Graph("net", ("x",), ("z",), nodes, values)


def whole():
    """The Dense sample with int8 weights as an integer graph."""
    return next(c for c in samples.cases(relu=False) if c.name == "Dense0").whole


def edited(graph, nodes=None, values=None, outputs=None):
    """A copy with other parts."""
    return Graph(graph.name, graph.inputs, outputs or graph.outputs, tuple(nodes or graph.nodes),
                 values or graph.values)  # fmt: skip


def test_a_legal_graph_is_returned():
    graph = real()
    assert check(graph, integer=False) is graph
    assert check(whole(), integer=True)


def test_a_graph_is_frozen():
    graph = real()
    with pytest.raises(AttributeError, match="a graph is frozen: nodes cannot be set"):
        graph.nodes = ()
    with pytest.raises(TypeError):
        graph.values["x"] = None
    with pytest.raises(AttributeError):
        graph.nodes[0].name = "other"
    with pytest.raises(AttributeError):
        graph.values["x"].shape = (1,)


def test_questions_to_a_graph():
    graph = real()
    assert graph.node("clip") is graph.nodes[1]
    assert graph.producer("y") is graph.nodes[1]
    assert graph.producer("x") is None
    assert graph.consumers("t") == [graph.nodes[1]]
    assert graph.consumers("z") == []
    assert [v.name for v in graph.stored()] == ["x", "y", "z"]
    assert graph.values["z"].size == 4
    assert Value("s", ()).size == 1
    with pytest.raises(KeyError):
        graph.node("nobody")


def test_quant_takes_floats_as_the_numbers_they_are():
    assert Quant.of(0.1, 3) == Quant((Fraction(0.1),), 3)
    assert Quant.of(Fraction(1, 3)).scale == (Fraction(1, 3),)


def _swapped(g):
    return edited(g, [g.nodes[1], g.nodes[0], g.nodes[2]])


def _written_twice(g):
    return edited(g, [*g.nodes, Node("again", Clip(), ("z",), "y")])


def _wrong_shape(g):
    return edited(g, values={**g.values, "z": Value("z", (4, 1))})


def _impossible(g):
    return edited(g, values={**g.values, "x": Value("x", (5,))})


def _no_activation(g):
    return edited(g, [g.nodes[0], Node("shape", Reshape((4,)), ("t",), "y"), g.nodes[2]])


def _two_readers(g):
    values = {**g.values, "w": Value("w", (4,))}
    return edited(g, [*g.nodes, Node("second", Clip(), ("t",), "w")], values)


def _sum_is_output(g):
    return edited(g, outputs=("t",))


def _lost_output(g):
    return edited(g, outputs=("nowhere",))


def _same_name(g):
    return edited(g, [g.nodes[0], replace(g.nodes[1], name="dense"), g.nodes[2]])


ILLEGAL = {
    "unsorted": (_swapped, r"^clip: reads 't' before it is computed; expected topological order"),
    "written twice": (_written_twice, r"^again: writes 'y' a second time; expected one producer per value"),
    "wrong shape": (_wrong_shape, r"^shape: output shape \(4, 1\); expected \(2, 2\)"),
    "impossible shape": (_impossible, r"^dense: output shape"),
    "no activation": (
        _no_activation,
        r"^dense: accumulator read by \['shape'\]; expected one activation node",
    ),
    "two readers": (_two_readers, r"^dense: accumulator read by \['clip', 'second'\]"),
    "sum as output": (_sum_is_output, r"^dense: accumulator read by"),
    "lost output": (_lost_output, r"^net: output 'nowhere' is never computed"),
    "two nodes of one name": (_same_name, r"^dense: two nodes of this name"),
}


@pytest.mark.parametrize("what", ILLEGAL)
def test_illegal_graphs_are_refused(what):
    edit, message = ILLEGAL[what]
    with pytest.raises(CompileError, match=message):
        check(edit(real()), integer=False)


def test_illegal_integer_graphs_are_refused():
    graph = whole()
    name = graph.nodes[0].output
    sums = graph.values[name]

    def refused(match, *, values=None, nodes=None):
        with pytest.raises(CompileError, match=match):
            check(edited(graph, nodes, values), integer=True)

    refused("integer value without range", values={**graph.values, name: replace(sums, range=None)})
    refused("integer value without range", values={**graph.values, name: replace(sums, quant=None)})
    scales = Quant((Fraction(1),) * (sums.shape[0] + 1), 0)
    refused(
        r"\d scales; expected one, or one per channel",
        values={**graph.values, name: replace(sums, quant=scales)},
    )
    refused("no origin", nodes=[replace(graph.nodes[0], origin=""), *graph.nodes[1:]])


@pytest.mark.parametrize(
    ("span", "fits"),
    [((-(1 << 31), (1 << 31) - 1), True), ((-(1 << 31) - 1, 0), False), ((0, 1 << 31), False)],
)
def test_an_accumulator_has_32_bits(span, fits):
    graph = whole()
    name = graph.nodes[0].output
    wide = edited(graph, values={**graph.values, name: replace(graph.values[name], range=Range(*span))})
    if fits:
        check(wide, integer=True)
    else:
        with pytest.raises(
            CompileError, match=rf"^Dense0: accumulator range \[.*\] needs {Range(*span).bits} bits"
        ):
            check(wide, integer=True)


def test_every_integer_node_has_a_float_twin():
    for case in samples.cases(relu=True):
        assert [n.origin for n in case.whole.nodes] == [n.name for n in case.real.nodes]
        assert [n.name for n in case.whole.nodes] == [n.name for n in case.real.nodes]
        for value in case.whole.values.values():
            assert value.shape == case.real.values[value.name].shape


def test_errors_are_one_line():
    error = CompileError("conv1", "5 inputs", "4", "another export")
    assert str(error) == "conv1: 5 inputs; expected 4; try another export"
    assert (error.where, error.found, error.expected, error.remedy) == (
        "conv1",
        "5 inputs",
        "4",
        "another export",
    )
    assert str(CompileError("a", "b")) == "a: b"
    codes = {e: e.exit_code for e in (TinyboundError, CompileError, PromiseError, ToolMissing)}
    assert codes == {TinyboundError: 2, CompileError: 2, PromiseError: 1, ToolMissing: 3}
