# SPDX-License-Identifier: Apache-2.0
"""What is installed: one row per external program, optional Python package and way to count instructions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from .errors import TinyboundError, ToolMissing
from .simulate import unicorn_core
from .simulate.boards import EVERY
from .simulate.counting import methods
from .tools import TOOLS, Tool, find, run


@dataclass(frozen=True)
class Row:
    """`path` is None when the tool is missing; `version` is "unknown" where a tool does not tell."""

    tool: str
    path: str | None
    version: str | None
    purpose: str
    install: str


_PACKAGES = (
    ("onnxruntime", "runs the reference network when comparing", 'pip install "tinybound[ort]"'),
    ("cocotb", "tests the protocol of the generated Verilog", 'pip install "tinybound[rtl]"'),
    ("pyverilator", "drives the Verilog interactively", 'pip install "tinybound[rtl]"'),
    ("unicorn", "runs firmware for Cortex-M where QEMU is missing", unicorn_core.INSTALL),
)


def rows() -> list[Row]:
    """One row per tool, found or not, then one per optional Python package, then who counts instructions."""
    return [*map(_tool, TOOLS.values()), *_packages(), *_counting()]


def _tool(tool: Tool) -> Row:
    try:
        path = str(find(tool.name))
    except ToolMissing:
        return Row(tool.name, None, None, tool.purpose, tool.install)
    try:
        answer = run([tool.name, tool.version_argument], timeout=20, ok=None)
        match = re.search(tool.version_pattern, answer.stdout + answer.stderr)
    except (TinyboundError, OSError):  # it hangs or cannot be started; doctor still prints its row
        match = None
    return Row(tool.name, path, match[1] if match else "unknown", tool.purpose, tool.install)


def _packages() -> Iterator[Row]:
    for name, purpose, install in _PACKAGES:
        try:
            distribution = metadata.distribution(name)
            yield Row(name, str(distribution.locate_file("")), distribution.version, purpose, install)
        except metadata.PackageNotFoundError:
            yield Row(name, None, None, purpose, install)


def _counting() -> Iterator[Row]:
    """A row per emulator: what counts there, the first is used."""
    for board in {board.emulator: board for board in EVERY.values()}.values():
        found, emulator = methods(board), TOOLS[board.emulator]
        name = f"counting, {board.emulator}"
        what = emulator.purpose.replace("runs", f"counts {board.counts} of")
        if found:
            yield Row(name, found[0], found[0], f"{what} ({', '.join(found)})", emulator.install)
        else:
            yield Row(name, None, None, what, emulator.install)
