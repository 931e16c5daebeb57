# SPDX-License-Identifier: Apache-2.0
"""The first promise on the bundled networks: every executor, every layer, every integer the same as golden.

By default the digits CNN in its four codes on the host, a Cortex-M4 and as RTL; the rest is slow.
"""

import numpy as np
import pytest

import tinybound
from tinybound.simulate import executors
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.executors import against_golden
from tinybound.simulate.rtl import Rtl
from tinybound.simulate.vectors import test_vectors as edges_and_random

CODES = ("int8", "int4", "pot4", "pool64")
MODELS = (
    "digits_cnn", "digits_cnn_softmax", "residual_cnn", "digits_mlp", "controller2", "controller4",
    "digits_cnn_qdq", "digits_cnn_qdq_u8", "residual_cnn_qdq", "digits_mlp_qdq",
)  # fmt: skip
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def build(cache, examples):
    """build(model, code, scales): compiled once."""
    made = {}

    def compiled(model, code, scales="any"):
        if (model, code, scales) not in made:
            float_model = model.removesuffix("_u8").removesuffix("_qdq").removesuffix("_softmax")
            samples = examples / f"{float_model}_calibration.npz"
            options = tinybound.Options(
                weights=(code,), scales=scales, calibration=samples if model in unquantised else None
            )
            folder = cache / f"exact_{model}_{code}_{scales}"
            made[model, code, scales] = tinybound.compile(examples / f"{model}.onnx", folder, options)
        return made[model, code, scales]

    unquantised = [name for name in MODELS if "qdq" not in name]
    return compiled


def vectors_of(build, examples, count):
    """Edge values, real inputs where there are some, then random ones."""
    (name,) = build.graph.inputs
    vectors = edges_and_random(build.graph, count, seed=11)
    tests = examples / f"{build.graph.name.replace('_softmax', '').partition('_qdq')[0]}_test.npz"
    with np.load(tests) as held:
        (real,) = (held[key] for key in held.files if held[key].shape[1:] == build.graph.values[name].shape)
    part = build.quantise({name: real[: count // 3]})[name]
    vectors[name][6 : 6 + len(part)] = part[: count - 6]
    return vectors


def check(build, executor, examples, tmp_path, count):
    """No mismatch anywhere; every layer was compared; n is printed."""
    vectors = vectors_of(build, examples, count)
    found = against_golden(build.artefact, executor, vectors, tmp_path)
    assert (found.mismatches, found.first) == (0, None)
    stored = {value.name for value in build.graph.stored()} - set(build.graph.inputs)
    seen = {layer.layer for layer in found.layers if "@" not in layer.layer}
    reshaped = {
        node.output for node in build.graph.nodes if type(node.op).__name__ in ("Reshape", "Transpose")
    }
    assert stored - reshaped <= seen  # a reshaped tensor is the tensor before it
    assert {f"output {name}" for name in build.graph.outputs} <= seen
    assert all(layer.elements >= count for layer in found.layers if layer.layer in seen)
    print(f"{build.folder.name} on {executor}: {count} vectors, 0 of {found.elements} integers differ")


@pytest.mark.parametrize("code", CODES)
def test_host(build, examples, tmp_path, code):
    check(build("digits_cnn", code), "host", examples, tmp_path, 1000)


@pytest.mark.parametrize(
    "board", [pytest.param(name, marks=() if name == "cortex-m4" else slow) for name in BOARDS]
)
@pytest.mark.parametrize("code", CODES)
def test_cores(build, examples, tmp_path, code, board):
    check(build("digits_cnn", code), board, examples, tmp_path, 100)


class Shared(Rtl):
    """Rtl whose model is built once for all patterns of stalls."""

    def build(self, c_dir, name, work, **more):
        place = c_dir.parent.parent / f"verilated_{c_dir.parent.name}"
        driver = place / f"{name}-rtl-trace" / "driver"
        return driver if driver.exists() else super().build(c_dir, name, place, **more)


def rtl(monkeypatch, build, examples, tmp_path, count, patterns):
    for stalls in patterns:
        monkeypatch.setattr(executors, "machine_of", lambda name, stalls=stalls: Shared(stalls=stalls))
        check(build, "rtl", examples, tmp_path, count)


@pytest.mark.parametrize("code", ["int8", *(pytest.param(code, marks=slow) for code in CODES[1:])])
def test_rtl(monkeypatch, build, examples, tmp_path, code):
    rtl(monkeypatch, build("digits_cnn", code), examples, tmp_path, 100, [(0, 0), (30, 30)])


@slow
@pytest.mark.parametrize("code", CODES)
def test_rtl_with_stalls(monkeypatch, build, examples, tmp_path, code):
    """The source alone, the sink alone, and both hardly ever ready."""
    patterns = [(50, 0), (0, 50), (95, 95)]
    rtl(monkeypatch, build("digits_cnn", code), examples, tmp_path, 20, patterns)


@pytest.mark.parametrize("code", CODES)
def test_powers_of_two(build, examples, tmp_path, code):
    """Ties are common with such scales: here half to even decides."""
    chosen = build("digits_cnn", code, "pow2")
    for value in chosen.graph.values.values():
        assert all(s.numerator & (s.numerator - 1) == 0 for s in value.quant.scale)
    check(chosen, "host", examples, tmp_path, 200)


OTHERS = [(m, "int8", "any") for m in MODELS if m != "digits_cnn"] + [
    (m, code, "any") for m in ("residual_cnn", "digits_cnn_softmax", "digits_mlp") for code in CODES[1:]
]
OTHERS += [("digits_cnn", code, "pow2") for code in CODES] + [("residual_cnn", "pot4", "pow2")]


@pytest.mark.parametrize("model", [m for m in MODELS if m != "digits_cnn"])
def test_other_models(build, examples, tmp_path, model):
    check(build(model, "int8"), "host", examples, tmp_path, 100)


@slow
@pytest.mark.parametrize("executor", ["host", "host-sanitized", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("model, code, scales", OTHERS)
def test_all_models(build, examples, tmp_path, model, code, scales, executor):
    count = 1000 if executor == "host" else 100
    check(build(model, code, scales), executor, examples, tmp_path, count)


@slow
@pytest.mark.parametrize("model, code, scales", OTHERS)
def test_all_models_as_rtl(monkeypatch, build, examples, tmp_path, model, code, scales):
    rtl(monkeypatch, build(model, code, scales), examples, tmp_path, 100, [(0, 0), (30, 30)])
