# SPDX-License-Identifier: Apache-2.0
"""The Verilog at a Python prompt gives the golden model's integers."""

from importlib.util import find_spec

import numpy as np
import pytest

import tinybound
from tinybound.errors import CompileError, PromiseError, ToolMissing
from tinybound.simulate import interactive
from tinybound.simulate.golden import golden

pytestmark = pytest.mark.skipif(not find_spec("pyverilator"), reason="needs the extra rtl")


@pytest.fixture(scope="module")
def build(cache, examples):
    options = tinybound.Options(target="verilog", domain=str(examples / "controller2_box.json"))
    return tinybound.compile(examples / "controller2.onnx", cache / "interactive", options)


@pytest.fixture(scope="module")
def running(build):
    return build.interactive()


def wanted(build, vectors):
    return golden(build.graph, vectors)[build.graph.outputs[0]]


def compare(build, model, count):
    vectors = {name: array[:count] for name, array in build.vectors().items()}
    frames = vectors[build.graph.inputs[0]]
    found = np.array([model.feed(frame) for frame in frames])
    np.testing.assert_array_equal(found, wanted(build, vectors))
    print(f"{len(frames)} frames, {found.size} integers compared, {model.cycles} clocks")


def test_frames_equal_golden(build, running):
    """Signs too: among the vectors are all lowest and all highest."""
    compare(build, running, 24)
    assert (wanted(build, build.vectors())[:24] < 0).any()


def test_reset_in_mid_frame(build, running):
    running.sim.io.s_axis_tvalid, running.sim.io.s_axis_tdata = 1, 77
    for _ in range(3):
        running.step()
    running.reset()
    compare(build, running, 3)


def test_raw_ports_are_unsigned(running):
    running.sim.io.s_axis_tdata = -1 & 255
    assert int(running.sim.io.s_axis_tdata) == 255
    assert running.sim.internal_signals == []
    assert {"clk", "rst", "m_axis_tdata"} <= set(running.sim.io)


@pytest.mark.parametrize("frame", [[1, 2, 3], [1.5, 2.0], [128, 0], [0, -129]])
def test_a_frame_that_is_none(running, frame):
    with pytest.raises(CompileError, match="frame"):
        running.feed(frame)


def test_silence_is_noticed(running):
    with pytest.raises(PromiseError, match="0 beats in 5 clocks; expected 1"):
        running.feed([1, 2], limit=5)
    running.reset()


def test_without_the_extra(build, monkeypatch):
    monkeypatch.setattr(interactive, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match=r"pip install .tinybound\[rtl\]"):
        build.interactive()


@pytest.mark.slow
@pytest.mark.parametrize("model, code", [("digits_mlp", "int8"), ("digits_cnn", "pool64")])
def test_digits(model, code, tmp_path, examples):
    """A second model in the same process, run-time bits included."""
    options = tinybound.Options(
        target="verilog", weights=(code,), calibration=examples / f"{model}_calibration.npz"
    )
    build = tinybound.compile(examples / f"{model}.onnx", tmp_path / "build", options)
    running = build.interactive()
    compare(build, running, 8)
    if code == "pool64":
        running.sim.io.bits = 3
        vectors = {name: array[6:8] for name, array in build.vectors().items()}
        expected = golden(build.graph, vectors, 3)[build.graph.outputs[0]]
        found = np.array([running.feed(frame) for frame in vectors[build.graph.inputs[0]]])
        np.testing.assert_array_equal(found, expected)
