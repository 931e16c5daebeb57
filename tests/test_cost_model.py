# SPDX-License-Identifier: Apache-2.0
"""Costs that kernels are chosen by: predicted instructions against counted ones, layer by layer; the choice
for size; and budgets that are kept by other kernels before a build is refused."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import samples
from cost_layers import single
from row_nets import mobilenet
from test_curves16 import parts

import tinybound
from tinybound.errors import PromiseError
from tinybound.kernels import KERNELS
from tinybound.kernels.base import ALIKE
from tinybound.kernels.choose import costs, fastest, kernel_plan, predicted, smaller
from tinybound.pipeline import build_networks
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import Artefact, flatten, packed
from tinybound.targets.c import generate_c
from tinybound.targets.layout import lay_out
from tinybound.targets.names import identifier
from tinybound.targets.plan import make_plan

pytestmark = pytest.mark.usefixtures("quick_attack")

WITHIN = 0.10
TINY = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlperf_tiny"


def network(path, code="int8", activations=8):
    domain = None if "qdq" in path.name else "-1,1"
    options = tinybound.Options(target="c", domain=domain, weights=(code,), activations=activations)
    return build_networks(path, options, 2).integer_graph


def compared(graph, core, folder):
    """Per layer its step, the predicted and the counted instructions, with whole maps in memory."""
    plan = kernel_plan(graph, (), core)
    for file, text in generate_c(graph, memory=lay_out(plan, ()), plan=plan).items():
        (folder / file).write_text(text)
    x = flatten(graph, {name: np.zeros((1, *graph.values[name].shape), int) for name in graph.inputs})
    macros = packed(Artefact(graph, folder, None), core)
    counts = Emulated(BOARDS[core]).count(folder, identifier(graph.name), folder, x, defines=macros)
    found = []
    for step in plan.steps:
        guess = predicted(plan, step, core)["predicted_instructions"]
        found.append((f"{step.index} {plan.kernel(step).name}", guess, counts.layers[step.index]))
    return found


def close(graph, core, folder, kernels=""):
    """Of the layers of kernels of such names."""
    found = [each for each in compared(graph, core, folder) if kernels in each[0]]
    assert found
    for name, guess, count in found:
        print(f"{core} {name}: {guess} predicted, {count} counted, {guess / count - 1:+.1%}")
    for name, guess, count in found:
        assert abs(guess - count) <= WITHIN * count, name


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "cortex-m3"])
@pytest.mark.parametrize("model", ["digits_mlp", "residual_cnn"])
def test_predictions(model, core, examples, tmp_path):
    close(network(examples / f"{model}.onnx"), core, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not TINY.exists(), reason="the MLPerf Tiny models are not here")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "cortex-m3", "rv32imc"])
@pytest.mark.parametrize("model", ["kws", "ic", "ad"])
def test_predictions_for_known_networks(model, core, tmp_path):
    close(network(TINY / f"kj_{model}_qdq.onnx"), core, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not TINY.exists(), reason="the MLPerf Tiny models are not here")
@pytest.mark.parametrize("code", ["int4", "pot4", "pool64"])
@pytest.mark.parametrize("model", ["kws_dscnn", "ic_resnet8"])
def test_predictions_for_other_codes(model, code, tmp_path):
    """Their weights are not those that costs were measured with."""
    close(network(TINY / f"{model}_float.onnx", code), "cortex-m4", tmp_path)


CORES = ["cortex-m4", "cortex-m0plus", "cortex-m3", "rv32imc"]


@pytest.mark.skipif(not TINY.exists(), reason="the trained models are not here")
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("model", ["italypower_mlp", "basicmotions_cnn1d"])
def test_predictions_for_trained_networks(model, core, tmp_path):
    """Of an only layer of its kernel, and of an input that is a list of channels."""
    close(network(TINY.parent / "trained" / f"{model}_qdq_s8s8.onnx"), core, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("model", ["controller4", "digits_cnn"])
def test_predictions_for_small_networks(model, core, examples, tmp_path):
    """An only layer of few taps; an average whose sums are never negative."""
    close(network(examples / f"{model}.onnx"), core, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_predictions_for_mobilenet(core, tmp_path):
    close(network(mobilenet(tmp_path / "mobilenet.onnx")), core, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not TINY.exists(), reason="the MLPerf Tiny models are not here")
@pytest.mark.parametrize("core", CORES)
def test_predictions_for_pools_of_weights(core, tmp_path):
    """The first convolution is no pool layer, and so the only one of its kernel."""
    close(network(TINY / "ic_resnet8_float.onnx", "pool64"), core, tmp_path)


SLOWLY = [pytest.param(core, marks=pytest.mark.slow) for core in ("cortex-m0plus", "cortex-m3", "rv32imc")]


@pytest.mark.parametrize("core", ["cortex-m4", *SLOWLY])
def test_predictions_at_16_bits(core, examples, tmp_path):
    close(network(examples / "residual_cnn.onnx", activations=16), core, tmp_path)


@pytest.mark.parametrize("core", ["cortex-m4", *SLOWLY])
def test_predictions_for_functions_of_16_bits(core, tmp_path):
    """Curves of every kind, to 8 and 16 bits, and softmax with sums of both lengths."""
    graph = samples.build("curves", parts(), relu=False)[1]
    for kernel in ("curve_16", "softmax_16"):
        close(graph, core, tmp_path, kernel)


def test_every_kernel_is_measured_on_every_core():
    """But where it is never chosen, and where there is no other: tables of 16-bit results, 16-bit weights."""
    table = json.loads((files("tinybound.kernels") / "costs.json").read_text())
    missing = {
        (kernel.name, core)
        for kernel in KERNELS
        for core in BOARDS
        if core not in ALIKE and core not in kernel.slow_on and core not in table.get(kernel.name, {})
    }
    assert {name for name, _ in missing} == {"table_16", "int16_8", "int16_16"}


@pytest.mark.slow
@pytest.mark.skipif(not TINY.exists(), reason="the MLPerf Tiny models are not here")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize("model", ["kws_dscnn", "ic_resnet8", "ad_autoenc"])
def test_predictions_for_known_networks_at_16_bits(model, core, tmp_path):
    close(network(TINY / f"{model}_float.onnx", activations=16), core, tmp_path)


def test_the_choice_gets_smaller_step_by_step(examples):
    """From the fastest one on; every choice but the last could lose something."""
    plan = make_plan(network(examples / "residual_cnn.onnx", "pot4"))
    choices = list(smaller(plan, "cortex-m4"))
    known = costs(plan, "cortex-m4")
    speeds = [sum(known[i][kernel].instructions for i, kernel in choice.items()) for choice in choices]

    assert choices[0] == fastest(plan, "cortex-m4")
    assert len(choices) > 1
    assert speeds[0] == min(speeds)


def test_budgets_are_kept_by_smaller_kernels(examples, tmp_path):
    """--optimise size is smaller; a budget between the two is met by other kernels; one below is refused."""
    model, made = examples / "digits_mlp.onnx", {}
    for optimise in ("speed", "size"):
        options = tinybound.Options(target="c", domain="-1,1", optimise=optimise)
        made[optimise] = tinybound.compile(model, tmp_path / optimise, options).report
    fast, small = made["speed"], made["size"]
    total = {key: each["flash_bytes"] + each["ram_with_stack_bytes"] for key, each in made.items()}
    print(total)
    assert total["size"] < total["speed"]
    predicted = {k: sum(x["predicted_instructions"] for x in each["layers"]) for k, each in made.items()}
    assert predicted["speed"] < predicted["size"]

    limit = small["flash_bytes"]
    options = tinybound.Options(target="c", domain="-1,1", max_flash=limit)
    build = tinybound.compile(model, tmp_path / "kept", options)
    assert build.report["flash_bytes"] <= limit < fast["flash_bytes"]
    assert build.verify(["host"]).ok
    with pytest.raises(PromiseError, match="max-flash"):
        tinybound.compile(model, tmp_path / "no", tinybound.Options(target="c", domain="-1,1", max_flash=900))


ALONE = [
    pytest.param(
        kernel.name, core, marks=() if (kernel.name, core) == ("fours", "cortex-m4") else pytest.mark.slow
    )
    for kernel in KERNELS
    for core in CORES
    if kernel.fits_one and core not in kernel.slow_on
]


@pytest.mark.parametrize("name, core", ALONE)
def test_the_only_layer_of_a_network(name, core, tmp_path):
    """Compilers fit a kernel to it: the prediction knows, and they have nothing to warn of."""
    for graph, copies in single(next(kernel for kernel in KERNELS if kernel.name == name)):
        if copies == 1:
            close(graph, core, tmp_path)
