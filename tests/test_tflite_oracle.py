# SPDX-License-Identifier: Apache-2.0
"""tflite-double against the kernels it is named after: LiteRT's and TFLite Micro's, layer by layer.

Needs the extra `oracles` and the .tflite files of MLPerf Tiny beside the project; the numbers of more inputs
are in docs/semantics.md (benchmarks/tflite_oracle.py).
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tinybound.domains.exact import run
from tinybound.options import Options
from tinybound.pipeline import build_networks

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
MODELS = ROOT.parent / "shared" / "data" / "mlperf_tiny"
COUNT = {"kws_dscnn_int8": 10, "ic_resnet8_int8": 3, "ad_autoenc_int8": 20}  # inputs
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(scope="module")
def oracle():
    for wheel in ("ai_edge_litert", "tflite_micro"):
        pytest.importorskip(wheel, reason=f"{wheel} is not installed: pip install -e .[oracles]")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import tflite_oracle
    finally:
        sys.path.pop(0)
    return tflite_oracle


def file(name):
    """A file of MLPerf Tiny."""
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"no {name} in ../shared/data/mlperf_tiny")
    return path


@pytest.fixture(scope="module")
def rows(oracle):
    """rows(model): what the benchmark compares, for a few inputs."""

    @cache
    def made(model):
        return list(
            oracle.compare(
                file(f"{model}.tflite"), COUNT[model], executors=("reference", "XNNPACK", "TFLite Micro")
            )
        )

    return made


def of(rows, executor, mode, *kinds):
    """(differing, compared) elements of the layers of these kinds."""
    found = [row[4:6] for row in rows if row[:2] == (executor, mode) and row[3] in kinds]
    assert found, (executor, mode, kinds)
    equal, compared = map(sum, zip(*found, strict=True))
    print(f"{executor}, {mode}, {', '.join(kinds)}: {compared - equal} of {compared} differ")
    return compared - equal, compared


@pytest.mark.parametrize(
    ("model", "elements"),
    [("kws_dscnn_int8", 720_120), ("ic_resnet8_int8", 258_078), ("ad_autoenc_int8", 33_440)],
)
def test_tflite_double_is_tflite_micro(rows, model, elements):
    """Every element of every convolution and dense layer; the other modes differ on some."""
    found = rows(model)
    kinds = sorted({row[3] for row in found} & set(WEIGHTED))
    assert of(found, "TFLite Micro", "tflite-double", *kinds) == (0, elements)
    for mode in ("half-even", "tflite-single"):
        assert of(found, "TFLite Micro", mode, *kinds)[0] > 0


def test_kernels_of_litert(rows):
    """Its reference convolutions round twice, its reference dense layer once; XNNPACK rounds once."""
    found = rows("kws_dscnn_int8")
    conv = ("CONV_2D", "DEPTHWISE_CONV_2D")
    assert of(found, "reference", "tflite-double", *conv) == (0, 720_000)
    for mode in ("half-even", "tflite-single"):
        assert of(found, "reference", mode, "FULLY_CONNECTED")[0] == 0
        assert of(found, "reference", mode, *conv)[0] > 500
        assert of(found, "XNNPACK", mode, *conv)[0] <= 10
    assert of(found, "XNNPACK", "tflite-double", *conv)[0] > 500
    assert max(row[6] for row in found if row[3] in WEIGHTED) == 1


@pytest.mark.parametrize("executor", ["reference", "XNNPACK", "TFLite Micro"])
def test_averages_are_tflites(rows, executor):
    found = rows("ic_resnet8_int8")
    for mode in ("tflite-single", "tflite-double"):
        assert of(found, executor, mode, "AVERAGE_POOL_2D") == (0, 192)


@pytest.mark.parametrize(
    ("model", "elements"),
    [("kws_dscnn_int8", 120), ("ad_autoenc_int8", 12_800), ("ic_resnet8_int8", 30)],
)
def test_a_network_from_onnx_is_tflite_micro(oracle, model, elements):
    """From the ONNX twin of the file through the front end, and left to itself: the same outputs."""
    graph = build_networks(file(f"{model}.onnx"), Options(requant="tflite-double")).integer_graph
    [source], [output] = graph.inputs, graph.outputs
    shape = graph.values[source].shape
    x = np.random.default_rng(1).integers(-128, 128, (COUNT[model], *shape), np.int8)
    path = file(f"{model}.tflite")
    last = oracle.Reader(path).outputs[0]
    infer = oracle.EXECUTORS["TFLite Micro"](path, [int(last.split()[1])])
    theirs = np.stack([next(iter(infer(one[None]).values())).ravel() for one in x])
    ours = np.stack([run(graph, {source: one.astype(np.int64)})[output] for one in x])
    assert ours.size == elements
    assert (ours == theirs).all()
