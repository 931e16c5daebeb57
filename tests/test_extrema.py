# SPDX-License-Identifier: Apache-2.0
"""Max and Min of tensors: exact but for one rounding, in C and Verilog, certified."""

import numpy as np
import pytest
from onnx_nets import Net
from pipeline import same_network
from replay import replay

from tinybound.build import compile as compile_model
from tinybound.checker import check_certificate
from tinybound.options import Options

SHAPE = (3, 4, 5)


def between(folder, op, kind, *, scales, broadcast=False):
    """Two tensors of scales of their own, their extremum in a third one."""
    net = Net(1, *SHAPE, opset=21, seed=2)
    fine = 256 if kind == np.int16 else 1
    x = net.quantised("x", scales[0] / fine, 5, kind)
    w = net.weights(net.rng.integers(-127, 128, (3, 3, 1, 1)), net.rng.uniform(0.005, 0.01, 3))
    y = net.quantised(net.put("Conv", x, w), scales[1] / fine, -9, kind)
    if broadcast:
        y = net.quantised(net.put("GlobalAveragePool", y), scales[1] / fine, -9, kind)
    z = net.put(op, x, y)
    return net.save(folder, net.quantised(z, scales[2] / fine, 11, kind))


CASES = [
    ("Max", np.int8, (1 / 40, 1 / 40, 1 / 40), False),
    ("Max", np.int8, (0.02, 0.0313, 0.0247), True),
    ("Max", np.int16, (0.02, 0.0313, 0.0247), False),
    ("Min", np.int8, (0.02, 0.0313, 0.0247), False),
    ("Min", np.int16, (0.02, 0.0313, 0.0247), False),
]


@pytest.mark.parametrize(
    ("op", "kind", "scales", "broadcast"),
    [pytest.param(*case, marks=pytest.mark.slow if i > 1 and i != 3 else ()) for i, case in enumerate(CASES)],
)
def test_onnx_runtime_is_within_a_step(op, kind, scales, broadcast, tmp_path):
    path = between(tmp_path, op, kind, scales=scales, broadcast=broadcast)
    assert same_network(path) > 0
    x = np.random.default_rng(1).normal(0, 1.5, (40, *SHAPE))
    x[0], x[1] = 9, -9
    seen, _ = replay(path, x, optimise=False)
    for name, found in seen.items():
        print(op, kind.__name__, name, found)
        assert found.worst <= 1
    last = list(seen.values())[-1]
    assert last.differing <= 0.002 * last.compared
    build = compile_model(path, tmp_path / "build", Options(target="c", domain="-1,1"))
    found = check_certificate(build.folder / "certificate.json", build.folder)
    assert found["accepted"], found["reason"]
    assert build.verify(["host"]).ok


@pytest.mark.slow
def test_in_verilog(tmp_path):
    path = between(tmp_path, "Max", np.int8, scales=(0.02, 0.0313, 0.0247))
    build = compile_model(path, tmp_path / "build", Options(target="all"))
    assert build.verify(["host", "rtl"]).ok
