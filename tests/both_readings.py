# SPDX-License-Identifier: Apache-2.0
"""One small network as the prover and as the checker read it, and the ranges that both find, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx_nets import Net

from tinybound.build import Build
from tinybound.build import compile as compile_model
from tinybound.certify.lockstep import entries, lockstep, walk
from tinybound.checker.check import _domain
from tinybound.checker.files import read_npz, strict_json
from tinybound.checker.float_net import read_float
from tinybound.checker.integer_net import read_network
from tinybound.checker.pairs import pair
from tinybound.domains.pair_crown import PairCrown
from tinybound.options import Options


def three_layers(folder: Path) -> tuple[Build, Any, Any]:
    """(build, steps, entries) of three layers of 12 neurons: steps and entries as the checker has them."""
    net, h = Net(1, 6, seed=1), "x"
    for size in ((6, 12), (12, 12), (12, 12)):
        h = net.put("Relu", net.put("Gemm", h, net.normal(*size)))
    model = net.save(folder, net.put("Gemm", h, net.normal(12, 3)))
    build = compile_model(model, folder / "B", Options(domain="-0.2,0.3", target="c"))
    arrays = read_npz((build.folder / "network.npz").read_bytes(), "")
    whole = read_network(strict_json((build.folder / "network.json").read_bytes(), ""), arrays, None)
    steps = pair(read_float((build.folder / "float.onnx").read_bytes()), whole)
    said = json.loads((build.folder / "certificate.json").read_text())["domain"]
    return build, steps, _domain(said, whole)


def side_by_side(build: Build, theirs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Per value the checker's ranges and the prover's: ends of x, y and d (6, ...)."""
    both = lockstep(build.float_graph, build.graph)
    at = entries(both, build.graph, build.domain.lower, build.domain.upper)
    domain, name = PairCrown(), {at: value for value, at in both.values.items()}
    for position, state in walk(both, domain, at):
        if position in name:
            box = domain.ranges(state)
            yield theirs[name[position]], np.stack([box.lx, box.ux, box.ly, box.uy, box.ld, box.ud])
