# SPDX-License-Identifier: Apache-2.0
"""Every kernel compiles at every level of optimisation, with and without frame pointers."""

import pytest
import samples
from test_mixed_kernels import mixed

from tinybound.simulate.boards import BOARDS
from tinybound.simulate.machine import STRICT
from tinybound.targets.c import generate_c
from tinybound.tools import run

FRAME = "-fno-omit-frame-pointer"
SLOW = [(core, o, f) for core in ("cortex-m4", "cortex-m0plus", "cortex-m3", "rv32imc")
        for o in ("-O0", "-O1", "-Os", "-O2", "-O3") for f in (FRAME, "-fomit-frame-pointer")]  # fmt: skip
QUICK = [("cortex-m4", "-Os", FRAME), ("cortex-m0plus", "-O1", FRAME)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All kernels with weights in one network, all ops in another."""
    place = tmp_path_factory.mktemp("options")
    ops = samples.build("samples", samples.all_samples(), relu=False)[1]
    for texts in (mixed()[1], generate_c(ops)):
        for file, text in texts.items():
            (place / file).write_text(text)
    return place


@pytest.mark.parametrize(
    "core, level, frame",
    [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW if each not in QUICK)],
)
def test_it_compiles(core, level, frame, folder, tmp_path):
    board = BOARDS[core]
    for name in ("mixed", "samples"):
        source, item = folder / f"{name}.c", tmp_path / f"{name}.o"
        run([board.compiler, *board.flags, *STRICT, level, frame, f"-I{folder}", "-c", source, "-o", item])
        assert item.stat().st_size > 10_000
