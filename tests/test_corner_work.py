# SPDX-License-Identifier: Apache-2.0
"""How many corners a certificate may ask of its checker."""

from __future__ import annotations

import numpy as np
from corner_nets import DOMAIN
from test_corners import certified

from tinybound.certify import corners
from tinybound.certify.branch import ranges_within
from tinybound.certify.corners import narrowed
from tinybound.certify.lockstep import entries, lockstep
from tinybound.checker import check_certificate
from tinybound.checker import corners as checked
from tinybound.domains.pair_window import BUDGET, Passes
from tinybound.options import Options
from tinybound.pipeline import build_networks


def test_no_more_ends_than_a_checker_looks_at(tmp_path, monkeypatch):
    """The prover counts as the checker does, and stops in front of its limit."""
    left = list[int]()
    true = checked._Corners.__init__

    def init(self, *args):
        true(self, *args)
        left.append(self.work)

    monkeypatch.setattr(checked._Corners, "__init__", init)
    document, path, folder = certified("no relu", 0, tmp_path)
    assert check_certificate(path, folder)["accepted"]
    both_nets = build_networks(folder / "float.onnx", Options(domain=DOMAIN))
    both = lockstep(both_nets.float_graph, both_nets.integer_graph)
    at = entries(both, both_nets.integer_graph, *({"x": np.full((1, 4, 4), end)} for end in (-0.4, 0.5)))
    boxes = ranges_within(both, at, {}, Passes(BUDGET))

    def sides():
        (found,) = narrowed(both, at, boxes, lambda: False).values()
        return found

    every = sides()
    spent = sum(side.work for side in every)
    assert len(every) == len(next(iter(document["corners"].values())))
    assert spent == checked.WORK - left[0][0]
    monkeypatch.setattr(corners, "WORK", spent)
    assert sides() == every
    monkeypatch.setattr(corners, "WORK", spent - 1)
    assert sides() == every[:-1]
