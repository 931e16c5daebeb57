# SPDX-License-Identifier: Apache-2.0
"""A mutation per rule of the prover and of the checker, and each is noticed; rule_table.py lists them."""

from __future__ import annotations

import importlib
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rule_subjects as on
import single_nets
import test_between as whole_leaves
import window_sources
from cell_nets import checker, checker_form, prover
from checker_nets import moving, random_build
from onnx_nets import Net
from pair_nets import zoo
from rule_choices import NOT_RULES
from rule_elsewhere import ELSEWHERE
from rule_mutants import Rule, narrower, rules
from rule_table import BY_HAND, SHOWN
from test_pair_bounds import on_borders
from test_pair_mutants import leaky
from test_pair_products import network
from test_softmax_law import pair as shared

from tinybound.build import compile as compile_model
from tinybound.certify import points, single
from tinybound.certify.cells import Numpy
from tinybound.checker import lines, rounding
from tinybound.domains import pair_float
from tinybound.options import Options

MODULES = """
    domains: pair_float pair_box pair_vertex pair pair_interval pair_forms pair_score pair_table pair_pool
        pair_multiply pair_zonotope pair_product pair_back pair_choice pair_lines pair_crown
        pair_single pair_joint pair_squares pair_window extremes exponentials pair_softmax
    certify: linear points cells single between gaps halves
    checker: rounding forms relax tables pools products pairs envelopes analysis backward crown lines cells
        chain single together squares shares share_rows nodes bends between halves laws
"""
QUICK = (
    "cells",
    "sums",
    "checked sums",
    "rows",
    "checked rows",
    "floats",
    "checked floats",
    "differences",
    "checked larger",
    "windows",
    "checked windows",
    "checked halves",
)


def words(text: str) -> list[str]:
    """ "group: name name" as "group.name", group after group."""
    found, group = [], ""
    for word in text.split():
        if word.endswith(":"):
            group = word[:-1]
        else:
            found.append(f"{group}.{word}")
    return found


@cache
def every() -> dict[str, Rule]:
    modules = [importlib.import_module(f"tinybound.{name}") for name in words(MODULES)]
    return {rule.key: rule for rule in rules(modules)}


def of_real(each: Any, x: Any) -> Any:
    return Numpy(each.chain).points(x, np.zeros(x.shape, np.int64))[0]


def errors_of(layers: Any, *box: Any) -> Any:
    return points.errors(layers, *box)  # looked up when it is called, not before it is made wrong


def counted_cells(each: Any) -> Any:
    return whole_leaves.by_forms(each)


def checked_forms(each: Any) -> Any:
    return whole_leaves.SIDES["checked forms"](each)


def of_checked(each: Any, x: Any) -> Any:
    return checker_form(each).real(x)


def of_build(seed: int, **how: Any) -> on.Subject:
    """The checker on a random network that is compiled."""
    with TemporaryDirectory() as folder:
        return on.of_checker(random_build(seed, Path(folder)), **how)


def of_moving() -> on.Subject:
    with TemporaryDirectory() as folder:
        return on.of_checker(moving(Path(folder)))


def of_rows_of_products() -> on.Subject:
    """Each row of a tensor with each row of another."""
    net = Net(1, 2, 3, seed=4)
    a, b = (net.put("MatMul", "x", net.normal(3, 3, scale=1.0)) for _ in range(2))
    with TemporaryDirectory() as folder:
        where, options = Path(folder), Options(domain="0.4,0.5", target="c")
        path = net.save(where, net.put("MatMul", a, net.put("Transpose", b, perm=[0, 2, 1])))
        return on.of_checker(compile_model(path, where / "B", options))


def of_together() -> on.Subject:
    """Deep enough for neurons that may be on or off."""
    net, h = Net(1, 6, seed=1), "x"
    for size in ((6, 12), (12, 12), (12, 12)):
        h = net.put("Relu", net.put("Gemm", h, net.normal(*size)))
    with TemporaryDirectory() as folder:
        where, options = Path(folder), Options(domain="-0.2,0.3", target="c")
        return on.of_together(compile_model(net.save(where, h), where / "B", options))


def of_padded() -> on.Subject:
    """What is read outside is no integer times the scale."""
    net = Net(1, 1, 2, 2, opset=18)
    pads, value = net.constant([0, 0, 1, 1, 0, 0, 0, 0], np.int64), net.constant(np.float32(0.337))
    out = net.put("Conv", net.put("Pad", "x", pads, value), net.normal(2, 1, 3, 3))
    with TemporaryDirectory() as folder:
        where = Path(folder)
        options = Options(domain="-0.4,0.6", target="c")
        return on.of_checker(compile_model(net.save(where, out), where / "B", options))


def of_softmax() -> on.Subject:
    """Weights of channels, and what they weigh."""
    net = Net(1, 4, seed=3)
    h = net.put("Gemm", "x", net.normal(4, 6, scale=1.0))
    p = net.put("Softmax", h)
    with TemporaryDirectory() as folder:
        where, options = Path(folder), Options(domain="-0.5,0.5", target="c")
        path = net.save(where, net.put("Mul", p, h), p)
        return on.of_checker(compile_model(path, where / "B", options))


def of_single(side: Any) -> on.Subject:
    """The float network in float32."""
    with TemporaryDirectory() as folder:
        return on.of_single(random_build(1, Path(folder)), side)


def drifting(each: Any, *box: Any) -> Any:
    form = checker_form(each)
    return lines.drift(form, lines.lines(form, *box), *box)


SUBJECTS = {
    **{f"zoo{seed}": partial(lambda s: on.of_domains(zoo(s)), seed) for seed in (2, 3, 5, 6, 10, 19)},
    **{f"border{s}": partial(lambda s: on.of_domains(on_borders(s, "tflite-double")), s) for s in (0, 1)},
    **{f"products{seed}": partial(lambda s: on.of_domains(network(s)), seed) for seed in (0, 4)},
    "point9": lambda: on.of_domains(on.at_point(network(0))),
    "softmax": lambda: on.of_domains(shared(1)),
    "checked softmax": of_softmax,
    "leaky": lambda: on.of_domains(leaky()[0][1]),
    **{f"build{seed}": partial(of_build, seed) for seed in (0, 1, 2, 3, 5, 7)},
    "build6": lambda: of_build(6, bits=5),
    "taps": lambda: of_build(2, box=(-0.3, 0.3)),  # several taps of a window can be the largest
    "point1": lambda: of_build(1, box=(0.25, 0.25)),
    "moving": of_moving,
    "checked products": of_rows_of_products,
    "joint": on.of_joint,
    "differences": on.of_differences,
    "checked larger": on.of_larger,
    "checked joint": of_together,
    "padded": of_padded,
    "cells": lambda: on.together([on.of_cells(seed, prover) for seed in (1, 2, 3)]),
    "checked cells": lambda: on.together([on.of_cells(seed, checker) for seed in (0, 2)]),
    "between": lambda: on.together([on.of_cells(seed, whole_leaves.prover) for seed in range(6)]),
    "checked between": lambda: on.together([on.of_cells(seed, whole_leaves.checker) for seed in range(6)]),
    "checked halves": lambda: on.together([on.of_cells(seed, checked_forms) for seed in range(4)]),
    "counted": lambda: on.together([on.of_cells(seed, counted_cells) for seed in (1, 2, 3)]),
    "rows": lambda: on.of_rows(on.prover_rows),
    "checked rows": lambda: on.of_rows(on.checker_rows),
    "single": lambda: of_single(single_nets.prover),
    "checked single": lambda: of_single(single_nets.checker),
    "single cells": lambda: on.of_single_cells(lambda each, *box: single.deviations(each.chain.layers, *box)),
    "checked single cells": lambda: on.of_single_cells(drifting),
    "magnitudes": on.of_magnitudes,
    "checked magnitudes": on.of_checked_magnitudes,
    "blurred rows": on.of_blurred,
    "windows": lambda: on.of_windows(window_sources.prover),
    "checked windows": lambda: on.of_windows(window_sources.checker),
    "sums": lambda: on.of_sums(pair_float),
    "checked sums": lambda: on.of_sums(rounding),
    "floats": lambda: on.of_floats(errors_of, of_real, lambda each: each.chain.layers),
    "checked floats": lambda: on.of_floats(lambda form, *box: form.off(*box), of_checked, checker_form),
}


def planted() -> dict[str, list[tuple[str, Any]]]:
    """Subject -> rules to be made wrong on it, and how."""
    found = {name: [(key, narrower) for key in words(text)] for name, text in SHOWN.items()}
    for key, (name, make) in BY_HAND.items():
        found.setdefault(name, []).append((key, make))
    return found


def test_every_rule_has_a_mutation():
    """Or a reason not to have one: a new rule must be entered in the table."""
    mutated = [key for keys in planted().values() for key, _ in keys]
    named = [*mutated, *ELSEWHERE, *NOT_RULES]
    assert sorted(set(every()) - set(named)) == []  # rules without a mutation
    assert sorted(set(named) - set(every())) == []  # entries without a rule
    assert len(named) == len(set(named))
    for place in ELSEWHERE.values():
        module, name = place.split(".")
        assert callable(getattr(importlib.import_module(module), name))
    print(f"{len(mutated) + len(ELSEWHERE)} rules are mutated, {len(NOT_RULES)} are none")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in planted()]
)
def test_a_wrong_rule_is_noticed(name):
    tried = SUBJECTS[name]()
    assert not tried.shows()  # the true rules lose nothing
    missed = []
    for key, make in planted()[name]:
        with pytest.MonkeyPatch.context() as patch:
            every()[key].replace(patch, make)
            if not tried.shows():
                missed.append(key)
    assert missed == []
    assert not tried.shows()  # and they are back
