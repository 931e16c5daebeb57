# SPDX-License-Identifier: Apache-2.0
"""Whoever counts instructions, the numbers are the same: QEMU's plugin, its timer under -icount, unicorn."""

import numpy as np
import pytest

import tinybound
from tinybound import tools
from tinybound.errors import PromiseError, ToolMissing
from tinybound.pipeline import build_networks
from tinybound.simulate import counting, unicorn_core
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.counting import PLUGIN, TIMER, UNICORN, from_timer, method, methods
from tinybound.simulate.emulated import Emulated
from tinybound.targets.c import generate_c

pytestmark = pytest.mark.usefixtures("quick_attack")

CORTEX = [core for core in BOARDS if core.startswith("cortex")]


@pytest.fixture(scope="module")
def networks(examples, tmp_path_factory):
    """Name -> folder of C; weights as int8, and in a pool, whose kernels have other instructions."""
    found = {}
    for name, code in (("digits_mlp", "int8"), ("digits_cnn", "pool64")):
        folder = found[name] = tmp_path_factory.mktemp(name)
        options = tinybound.Options(domain="-1,1", weights=(code,))
        graph = build_networks(examples / f"{name}.onnx", options, 2).integer_graph
        for file, text in generate_c(graph).items():
            (folder / file).write_text(text)
    return found


def counted(networks, core, name, by, work):
    machine = Emulated(BOARDS[core], counted_by=by)
    x = np.arange(-64, 0, dtype=np.int8)[None]
    return machine.count(networks[name], name, work, x)


def agree(networks, core, name, work):
    each = {by: counted(networks, core, name, by, work) for by in methods(BOARDS[core])}
    print(core, name, each[PLUGIN])
    assert set(each) == {PLUGIN, TIMER, *([UNICORN] if core in CORTEX else [])}
    assert len(each[PLUGIN].layers) > 1
    for counts in each.values():
        assert (counts.total, counts.layers) == (each[PLUGIN].total, each[PLUGIN].layers)


@pytest.mark.parametrize("core, name", [("cortex-m4", "digits_cnn"), ("rv32imc", "digits_mlp")])
def test_all_agree(core, name, networks, tmp_path):
    """The whole network and every layer, to the instruction."""
    agree(networks, core, name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
@pytest.mark.parametrize("core", BOARDS)
def test_all_agree_on_every_core(core, name, networks, tmp_path):
    agree(networks, core, name, tmp_path)


@pytest.fixture
def no_qemu(monkeypatch):
    """As on a computer with a compiler for ARM and `pip install tinybound[unicorn]`."""
    which = tools.shutil.which
    monkeypatch.setattr(tools.shutil, "which", lambda name: None if "qemu" in name else which(name))


def test_without_qemu_unicorn_runs_and_counts(examples, tmp_path, no_qemu):
    options = tinybound.Options(target="c", domain="-1,1")
    build = tinybound.compile(examples / "digits_mlp.onnx", tmp_path / "build", options)

    assert build.verify(["cortex-m4"]).ok
    with pytest.raises(ToolMissing, match="qemu-system-riscv32"):
        build.verify(["rv32imc"])


def test_the_best_one_is_chosen(monkeypatch, no_qemu):
    board = BOARDS["cortex-m4"]
    assert method(board) == UNICORN
    monkeypatch.setattr(unicorn_core, "installed", lambda: False)
    with pytest.raises(ToolMissing, match="apt-get install qemu-system-arm"):
        method(board)


def test_without_the_plugin_the_timer_counts(monkeypatch):
    counting.plugin_version.cache_clear()
    monkeypatch.setattr(counting, "PLUGIN_VERSIONS", (99,))
    try:
        assert methods(BOARDS["cortex-m4"]) == [TIMER, UNICORN]
        assert methods(BOARDS["rv32imc"]) == [TIMER]
    finally:
        counting.plugin_version.cache_clear()


@pytest.mark.parametrize("ticks, said", [([64, 0xFFFFFFFF], "longer"), ([64, 67], "follow -icount")])
def test_a_timer_that_cannot_tell_is_refused(ticks, said, tmp_path):
    np.array(ticks, "<u4").tofile(tmp_path / "counts.bin")
    with pytest.raises(PromiseError, match=said):
        from_timer(BOARDS["cortex-m4"], tmp_path)


SPIN = """
#include "{name}.h"
int {name}_run(const {name}_input_t in[{name}_INPUT_SIZE], {name}_output_t out[{name}_OUTPUT_SIZE])
{{
    (void)in;
    (void)out;
    {body}
    return 0;
}}
"""


@pytest.mark.parametrize(
    "body, said",
    [("for (;;) {}", "no end within 1 s"), ("*(volatile int *)0x70000000 = 1;", "FAULT"),
     ('__asm__ volatile("udf #1");', "FAULT"), ("return 1;", "exit code 4")],
)  # fmt: skip
def test_unicorn_sees_what_goes_wrong(body, said, networks, tmp_path, no_qemu):
    name, machine = "digits_mlp", Emulated(BOARDS["cortex-m4"], timeout=1)
    header = (networks[name] / f"{name}.h").read_text()
    (tmp_path / f"{name}.h").write_text(header)
    (tmp_path / f"{name}.c").write_text(SPIN.format(name=name, body=body))
    program = machine.build(tmp_path, name, tmp_path)
    with pytest.raises(PromiseError, match=said):
        machine.run(program, np.zeros((1, 64), np.int8), 8, tmp_path)
