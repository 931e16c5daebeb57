# SPDX-License-Identifier: Apache-2.0
"""A short --timeout, or Ctrl-C, ends passes over the whole box and the search for differences too: what is
certified then holds, and the checker confirms it."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest
from checker_nets import BUNDLED

from tinybound import terminal
from tinybound.asks import Ask
from tinybound.boxes import ball
from tinybound.certify import certificate as prover
from tinybound.certify.effort import Effort
from tinybound.checker import check_certificate
from tinybound.runs import certify_build

KINDS = {"interval", "zonotope", "product", "crown"}
NOTHING = lambda _low, _high: None  # noqa: E731


@pytest.fixture
def digits(bundled, examples, tmp_path):
    """(build, box): a ball about an image."""
    _, build = bundled("digits_mlp", tmp_path / "BUILD")
    (name,) = build.graph.inputs
    x = np.load(examples / "digits_mlp_test.npz")["x"][0].astype(float)
    return build, ball({name: x.reshape(build.graph.values[name].shape)}, BUNDLED["digits_mlp"][2], None)


@pytest.mark.parametrize("asked", [0, 3, 7, 12, 15, 30])
def test_wherever_it_ends(digits, asked):
    """Every step of every pass, and every round of the search, asks whether it is over."""
    build, box = digits
    calls = []

    def cancel():
        calls.append(1)
        return len(calls) > asked

    made = build.certify(box, effort=Effort(cancel=cancel))
    (out,) = made.outputs_json().values()
    assert (np.array(out["attack"]) <= out["bound"]).all()
    assert max(out["attack"]) > 0
    assert set(out["domains"]) in ({"interval"}, KINDS)
    verdict = check_certificate(build.folder / "certificate.json", build.folder)
    assert verdict["accepted"], verdict["reason"]


def test_with_less_time_less_is_proven(digits):
    build, box = digits
    seconds, bounds = [], []
    for end in (0.0, np.inf):
        start = time.process_time()
        bounds.append(build.certify(box, effort=Effort(end=end)).largest)
        seconds.append(time.process_time() - start)
    assert bounds[0] > bounds[1]
    assert seconds[0] < seconds[1]  # what both take, writing the build, is half of it


def test_the_command_in_a_hurry(digits, command, examples):
    build, _ = digits
    images = examples / "digits_mlp_test.npz"
    where = "certify", build.folder, "--around", images, "--radius", "0.0625"
    outcome = command(*where, "--timeout", "0.01")
    assert outcome.code == 0
    assert "by intervals alone: for more there was no time" in outcome.out
    assert "crown" not in outcome.out
    assert json.loads((build.folder / "certificate.json").read_text())["method"] == "interval"
    outcome = command(*where, "--timeout", "0", "--json")  # a pass over the whole box, as without
    assert set(outcome.json["outputs"]["y"]["domains"]) == KINDS


def test_a_combination_waits_for_its_passes(digits):
    """Intervals bound no combination."""
    build, box = digits
    weights = {"y": np.eye(10)[0] - np.eye(10)[1]}
    made = build.certify(box, effort=Effort(end=0.0), weights=weights)
    assert set(made.alone) == KINDS
    assert check_certificate(build.folder / "certificate.json", build.folder)["accepted"]


def test_pressed_in_the_first_pass(digits, monkeypatch):
    build, _ = digits

    first = prover.lockstep

    def pressed(*networks, **how):
        os.kill(os.getpid(), signal.SIGINT)
        return first(*networks, **how)

    monkeypatch.setattr(prover, "lockstep", pressed)
    made = certify_build(build.folder, Ask(), None, NOTHING, lambda _: None, grid=False)
    assert set(made.alone) == {"interval"}
    assert check_certificate(build.folder / "certificate.json", build.folder)["accepted"]


def test_shares_of_the_time():
    now = time.perf_counter()
    effort = Effort(until=now + 40, end=np.inf)
    share = effort.share(4)
    assert now + 9 < share.until < now + 11
    assert share.end == np.inf
    assert effort.share(1).until == pytest.approx(effort.until)
    assert Effort(until=now - 40).share(4).until < now


def test_the_bar_before_anything_is_found(monkeypatch, capsys):
    """Passes over the whole box give an upper end: the bar shows it, and fills later."""
    monkeypatch.setattr(terminal, "err", terminal.Console(stderr=True, force_terminal=True, width=120))
    with terminal.ends() as show:
        show.passed(0.5)
        show(0.0, 5.0)
        show(0.0, 2.0)
        show(1.0, 2.0)
        show(1.5, 1.5)
    assert "at most" in capsys.readouterr().err
    with terminal.ends() as show:
        show.passed(0.25)
    assert "25% of their cost" in capsys.readouterr().err
