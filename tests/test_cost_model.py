# SPDX-License-Identifier: Apache-2.0
"""Costs that kernels are chosen by: predicted instructions against counted ones, layer by layer; the choice
for size; and budgets that are kept by other kernels before a build is refused."""

from pathlib import Path

import numpy as np
import pytest

import tinybound
from tinybound.errors import PromiseError
from tinybound.kernels.choose import costs, fastest, kernel_plan, smaller
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
        cost = costs(plan, core)[step.index][plan.kernel(step)]
        found.append((f"{step.index} {plan.kernel(step).name}", cost.instructions, counts.layers[step.index]))
    return found


def close(graph, core, folder):
    found = compared(graph, core, folder)
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
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "cortex-m3"])
@pytest.mark.parametrize("model", ["kws", "ic", "ad"])
def test_predictions_for_known_networks(model, core, tmp_path):
    close(network(TINY / f"kj_{model}_qdq.onnx"), core, tmp_path)


@pytest.mark.parametrize("core", ["cortex-m4", pytest.param("cortex-m0plus", marks=pytest.mark.slow)])
def test_predictions_at_16_bits(core, examples, tmp_path):
    close(network(examples / "residual_cnn.onnx", activations=16), core, tmp_path)


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
