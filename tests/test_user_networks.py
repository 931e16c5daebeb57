# SPDX-License-Identifier: Apache-2.0
"""Whole networks of the kinds that users bring: the same integers on every core, from 100 inputs each.

The MLPerf Tiny models are used where the folder with them is (../shared/data); no result of that benchmark.
"""

from pathlib import Path

import numpy as np
import pytest
from onnx_user_nets import NETWORKS

import tinybound
from tinybound.frontends import load_onnx
from tinybound.simulate.executors import against_golden
from tinybound.simulate.vectors import test_vectors as edges_and_random

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TASKS = {  # quantised by others, quantised by ONNX Runtime, float
    task: (f"kj_{task}_qdq", f"{model}_qdq_s8s8", f"{model}_float")
    for task, model in (("kws", "kws_dscnn"), ("ic", "ic_resnet8"), ("ad", "ad_autoenc"))
}
CORES = ("host", "cortex-m4", "cortex-m0plus", "rv32imc")
COUNT = 100
RANGES = {"kws": (-8, 8), "ic": (0, 255), "ad": (-12, 12)}  # of the inputs of the float models


@pytest.fixture(scope="module")
def build(cache, tmp_path_factory):
    """build(name): compiled once."""
    made = {}

    def compiled(name):
        if name not in made:
            folder, path = tmp_path_factory.mktemp(name), SHARED / "mlperf_tiny" / f"{name}.onnx"
            if name in NETWORKS:
                path = NETWORKS[name](folder)
            elif not path.is_file():
                pytest.skip(f"no {path.name} in the folder of shared data")
            samples = None if "_qdq" in name else calibration(path, folder)
            options = tinybound.Options(target="c", calibration=samples)
            made[name] = tinybound.compile(path, cache / f"user_{name}", options)
        return made[name]

    return compiled


def calibration(path, folder):
    """Random samples for a float model, as wide as its task's inputs are."""
    graph = load_onnx(path).graph
    low, high = RANGES.get(path.stem[: path.stem.find("_")], (-1, 1))
    rng = np.random.default_rng(3)
    samples = {n: rng.uniform(low, high, (8, *graph.values[n].shape)) for n in graph.inputs}
    np.savez(folder / "samples.npz", **samples)
    return folder / "samples.npz"


def vectors_of(build, count):
    """Edges and random integers; real inputs where there are some."""
    vectors = edges_and_random(build.graph, count, seed=5)
    (name,) = build.graph.inputs
    clip = SHARED / "mlperf_tiny" / "ad_normal_id_01_logmel_200x128.f32.bin"
    if build.graph.values[name].shape == (640,) and clip.is_file():
        frames = np.fromfile(clip, "<f4").reshape(200, 128)
        windows = np.stack([frames[i : i + 5].ravel() for i in range(count // 2)])
        vectors[name][count // 2 :] = build.quantise({name: windows})[name][: count - count // 2]
    return vectors


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", [*NETWORKS, *(name for files in TASKS.values() for name in files)])
def test_the_same_integers_everywhere(build, name, core, tmp_path):
    chosen = build(name)
    vectors = vectors_of(chosen, COUNT)

    found = against_golden(chosen.artefact, core, vectors, tmp_path)

    assert (found.mismatches, found.first) == (0, None)
    outputs = sum(chosen.graph.values[n].size for n in chosen.graph.outputs)
    assert found.elements > COUNT * outputs  # the layers inside as well
    print(f"{name} on {core}: {COUNT} vectors, 0 of {found.elements} integers differ")
