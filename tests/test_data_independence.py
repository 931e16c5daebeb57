# SPDX-License-Identifier: Apache-2.0
"""An inference executes the same instructions for every input: what is counted once is the worst case."""

import numpy as np
import pytest
import samples

import tinybound
from tinybound.pipeline import build_networks
from tinybound.simulate.boards import BOARDS
from tinybound.simulate.emulated import Emulated
from tinybound.simulate.executors import Artefact, packed
from tinybound.targets.c import generate_c
from tinybound.targets.names import identifier

CORES = ("cortex-m4", *(pytest.param(core, marks=pytest.mark.slow) for core in ("cortex-m0plus", "rv32imc")))


def inputs(graph):
    """All codes at one end, alternating ends, random ones and random ends, N x bytes."""
    n, rng = sum(graph.values[name].size for name in graph.inputs), np.random.default_rng(5)
    turns = np.arange(n) % 2
    rows = [np.full(n, -128), np.full(n, 127), np.zeros(n), 255 * turns - 128, 127 - 255 * turns,
            *rng.integers(-128, 128, (4, n)), *rng.choice([-128, 127], (3, n))]  # fmt: skip
    return np.stack(rows).astype(np.int8)


def counted(graph, core, folder, bits=8, spoil=None):
    """Per input the instructions of the whole network and of every layer."""
    for file, text in generate_c(graph).items():
        (folder / file).write_text(text if spoil is None else spoil(text))
    macros = packed(Artefact(graph, folder, None), core)
    name = identifier(graph.name)
    found = Emulated(BOARDS[core]).count_each(folder, name, folder, inputs(graph), bits, macros)
    return np.array([[counts.total, *counts.layers] for counts in found])


def of_samples(kind=""):
    """Every op and code in one network, or the samples of one op."""
    chosen = [(name, sample) for name, sample in samples.all_samples() if name.startswith(kind)]
    return samples.build("samples", chosen, relu=True)[1]


@pytest.mark.parametrize("core", CORES)
def test_every_op_and_code(core, tmp_path):
    counts = counted(of_samples(), core, tmp_path)

    print(f"{core}: {counts[0, 0]} instructions, {counts.shape[1] - 1} layers, {len(counts)} inputs")
    assert (counts == counts[0]).all(), np.flatnonzero((counts != counts[0]).any(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("requant", ["onnx", "tflite-single", "tflite-double"])
@pytest.mark.parametrize("code", ["int8", "int4", "pot4", "pool64"])
@pytest.mark.parametrize("model", ["controller4", "digits_cnn_softmax", "residual_cnn"])
def test_bundled_networks(model, code, requant, core, examples, tmp_path):
    options = tinybound.Options(domain="-1,1", weights=(code,), requant=requant)
    graph = build_networks(examples / f"{model}.onnx", options, 2).integer_graph

    for bits in (8, 3) if code == "pool64" else (8,):
        counts = counted(graph, core, tmp_path, bits)
        assert (counts == counts[0]).all()


def test_a_branch_on_data_is_seen(tmp_path):
    """The larger of two numbers by a comparison: a Cortex-M0+ has no conditional moves."""

    def spoil(text):
        return text.replace("return b + (more & ~(more >> 31));", "return (more > 0) ? a : b;")

    counts = counted(of_samples("MaxPool"), "cortex-m0plus", tmp_path, spoil=spoil)

    assert (counts != counts[0]).any()
