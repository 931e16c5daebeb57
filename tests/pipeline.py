# SPDX-License-Identifier: Apache-2.0
"""From a file to the integer graph or to a certified build in one call; files refused in one line."""

import time

import numpy as np
import pytest
from onnx_nets import Net

from tinybound.boxes import Box
from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.checker.files import Rejected
from tinybound.checker.float_net import read_float
from tinybound.errors import CompileError
from tinybound.frontends import load_onnx
from tinybound.options import Options
from tinybound.quantise.calibrate import calibrate
from tinybound.quantise.lower import lower
from tinybound.quantise.scales import activation
from tinybound.quantise.weights import choose_weights


def pipeline(path):
    """Everything between the file and the integer graph."""
    imported = load_onnx(path)
    graph = imported.graph
    rng = np.random.default_rng(0)
    x = {n: rng.normal(0, 1, (2, *graph.values[n].shape)) for n in graph.inputs}
    ranges = calibrate(graph, x)
    wanted = {n: imported.activations.get(n) or activation(*ends) for n, ends in ranges.items()}
    return lower(graph, wanted, choose_weights(graph, {}, imported.weights, power_of_two=False))


def refused(path, match):
    begin = time.monotonic()
    with pytest.raises(CompileError, match=match) as caught:
        pipeline(path)
    assert time.monotonic() - begin < 10
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 2000
    return text


def refused_by_both(folder, shape, write, match):
    """By the compiler in one line, and by the checker's reader."""
    net = Net(*shape)
    path = net.save(folder, write(net), infer=False)
    refused(path, match)
    with pytest.raises((Rejected, ValueError)):
        read_float(path.read_bytes())


def same_network(path):
    """The front end's float graph against the checker's reading of the file; how many layers there are."""
    graph, other = load_onnx(path).graph, read_float(path.read_bytes())
    assert (graph.inputs, graph.outputs) == (other.inputs, other.outputs)
    ours = [(n.name, type(n.op).__name__, n.inputs, n.output) for n in graph.nodes]
    assert ours == [(layer.name, layer.op, layer.inputs, layer.output) for layer in other.layers]
    for node, layer in zip(graph.nodes, other.layers, strict=True):
        assert graph.values[node.output].shape == other.shapes[layer.output]
        for field in ("weights", "bias", "lo", "hi", "positions", "extents", "factor"):
            if hasattr(node.op, field):
                np.testing.assert_array_equal(getattr(node.op, field), layer.fields[field])
    return len(ours)


def certified(path, shape, folder):
    """A model compiled on random samples; certified in a small box, which the checker confirms."""
    rng = np.random.default_rng(1)
    np.savez(folder / "samples.npz", x=rng.uniform(-1, 1, (8, *shape[1:])))
    options = Options(calibration=folder / "samples.npz", target="c")
    build = compile_model(path, folder / "build", options)
    low = rng.uniform(-1, 0.9, shape[1:])

    build.certify(Box({"x": low}, {"x": low + 0.05}))

    found = check_certificate(folder / "build" / "certificate.json", folder / "build")
    assert found["accepted"], found["reason"]
    return build
