# SPDX-License-Identifier: Apache-2.0
"""--data-free: ranges follow from the model and its domain; nothing in the domain saturates."""

import numpy as np
import pytest
from command import InProcess
from onnx_nets import Net

from tinybound.domains.exact import run
from tinybound.errors import CompileError
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.quantise.calibrate import reachable
from tinybound.quantise.scales import activation


def model(tmp_path):
    net = Net(1, 2, 6, 6)
    y = net.put("Relu", net.put("Conv", "x", net.normal(6, 2, 3, 3), net.normal(6)))
    y = net.put("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.put("Relu", net.put("Gemm", net.put("Flatten", y), net.normal(24, 12), net.normal(12)))
    return net.save(tmp_path, net.put("Gemm", y, net.normal(12, 4), net.normal(4)))


def test_every_activation_covers_what_the_domain_can_reach(tmp_path):
    path = model(tmp_path)
    free = build_networks(path, Options(domain="-1,3", data_free=True))
    seen = build_networks(path, Options(domain="-1,3"))

    ranges = reachable(free.float_graph, free.domain.lower, free.domain.upper)
    for value in free.integer_graph.stored():
        if value.name in free.float_graph.values:
            source = free.float_graph.producer(value.name)
            moved = source is not None and not source.op.activates
            wanted = activation(*ranges[source.inputs[0] if moved else value.name])
            assert value.quant.scale == (wanted.scale,)
    last = free.integer_graph.outputs[0]
    assert free.integer_graph.values[last].quant.scale > seen.integer_graph.values[last].quant.scale


def test_no_input_of_the_domain_saturates(tmp_path):
    """Corners and random inputs: every float value lies inside what its integers can say."""
    free = build_networks(model(tmp_path), Options(domain="-1,3", data_free=True))
    rng, compared = np.random.default_rng(0), 0
    for i in range(200):
        x = rng.uniform(-1, 3, (2, 6, 6)) if i % 2 else rng.choice([-1.0, 3.0], (2, 6, 6))
        for name, real in run(free.float_graph, {"x": x}).items():
            value, made = free.integer_graph.values.get(name), free.integer_graph.producer(name)
            if value is None or (made is not None and not made.op.activates):
                continue
            steps = real / float(value.quant.scale[0]) + value.quant.zero
            assert steps.min() >= -128.5
            assert steps.max() <= 127.5
            compared += real.size
    assert compared == 200 * (72 + 96 + 12 + 4)


def test_the_same_network_whatever_the_seed(tmp_path):
    path = model(tmp_path)
    scales = []
    for seed in (0, 7):
        graph = build_networks(path, Options(domain="-1,3", data_free=True, seed=seed)).integer_graph
        scales.append([v.quant for v in graph.values.values()])
    assert scales[0] == scales[1]


def test_without_a_domain_there_is_nothing_to_derive_from(tmp_path):
    path = model(tmp_path)
    with pytest.raises(CompileError, match=r"no samples.*--domain BOX"):
        build_networks(path, Options(data_free=True))
    with pytest.raises(CompileError, match="--data-free: --calibration as well; expected one of them"):
        Options(domain="-1,1", data_free=True, calibration="x.npz")


def test_a_quantised_model_brings_its_domain(tmp_path):
    """What its input's integers can represent; only the last sum has no scale."""
    net = Net(1, 8)
    x = net.quantised("x", 0.1, 0, np.int8)
    path = net.save(tmp_path, net.put("Gemm", x, net.weights(np.eye(3, 8, dtype=int), 0.5), transB=1))
    graph = build_networks(path, Options(data_free=True)).integer_graph
    ends = np.float32(0.1) * np.float64(0.5) * np.array([-128, 127])
    assert graph.values[graph.outputs[0]].quant.scale == (activation(*ends).scale,)


def test_from_the_command_line(monkeypatch, capsys, tmp_path, examples):
    command = InProcess(monkeypatch, capsys)
    model, box = examples / "controller2.onnx", examples / "controller2_box.json"
    done = command("compile", model, "-o", tmp_path / "B", "--target", "c", "--domain", box, "--data-free")
    assert done.code == 0, done.err
    assert '"data_free": true' in (tmp_path / "B" / "manifest.json").read_text()
