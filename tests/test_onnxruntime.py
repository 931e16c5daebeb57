# SPDX-License-Identifier: Apache-2.0
"""The golden model against ONNX Runtime on QDQ models, each layer fed with golden's own inputs.

Never more than 1 step per layer, and wherever the two differ the exact result lies at a rounding tie or
within float32 error of one, and ours is what ONNX says of the exact numbers (tested, the latter in
fractions). The counts are printed. The classes that are not zero:
- random scales: about 1e-5 of the elements. ONNX Runtime computes in float32 (sums of products, or the
  integer sum times a rounded ratio); a result within its error of a tie may fall on the other side of it.
- averages that keep a random scale: the ratio is 1/taps whatever the scale, so ties are common, and
  ONNX Runtime averages float32 products q * scale, whose errors decide them.
- additions and averages at ENABLE_ALL: the fused kernels round after adding the zero point; with an odd
  zero point "to even" goes the other way, and half of the ties differ. At DISABLE_ALL these are zero.
- power-of-two scales otherwise: zero.
- softmax: exponentials by table, so it can differ by a step away from ties too.
"""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_nets import BY_TYPE, Net, exposed, session
from replay import Seen, distance_from_tie, integer_graph, is_exact, real_range, replay

from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.ops import Requantise

NEAR = 1e-3  # of a step: what float32 arithmetic may move a result by


def scale(net, two, low=0.004, high=0.06):
    """A random or a power-of-two scale."""
    value = net.rng.uniform(low, high)
    return float(2.0 ** np.round(np.log2(value))) if two else float(np.float32(value))


def weights(net, shape, two, axis):
    count = shape[axis]
    scales = [scale(net, two, 0.001, 0.02) for _ in range(count)]
    return net.weights(net.rng.integers(-127, 128, shape), scales, axis), np.float32(scales)


def bias(net, count, scales, x_scale, two):
    return net.weights(net.rng.integers(-4000, 4000, count), np.float32(x_scale) * scales, 0, np.int32)


def zero_point(net, dtype):
    info = np.iinfo(dtype)
    return int(net.rng.integers(info.min + 90, info.max - 90))


def conv(net, x, sx, two, groups=1, outputs=8, kernel=3, **more):
    w, s = weights(net, (outputs, 4 // groups, kernel, kernel), two, 0)
    return net.put("Conv", x, w, bias(net, outputs, s, sx, two), group=groups, **more)


def gemm(net, x, sx, two):
    w, s = weights(net, (20, 48), two, 0)
    return net.put("Gemm", x, w, bias(net, 20, s, sx, two), transB=1)


MAP = (1, 4, 9, 7)
KINDS = {
    "conv": (MAP, lambda n, x, s, two: conv(n, x, s, two, pads=[1, 1, 1, 1])),
    "conv strided": (MAP, lambda n, x, s, two: conv(n, x, s, two, pads=[0, 1, 1, 0], strides=[2, 1])),
    "depthwise": (MAP, lambda n, x, s, two: conv(n, x, s, two, groups=4, outputs=4, pads=[1, 1, 1, 1])),
    "pointwise": (MAP, lambda n, x, s, two: conv(n, x, s, two, kernel=1)),
    "gemm": ((1, 48), gemm),
    "relu": (MAP, lambda n, x, s, two: n.put("Relu", conv(n, x, s, two))),
    "average": (MAP, lambda n, x, s, two: n.put("AveragePool", x, kernel_shape=[3, 2], strides=[2, 2])),
    "average of 4": (MAP, lambda n, x, s, two: n.put("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])),
    "maximum": (MAP, lambda n, x, s, two: n.put("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "global average": ((1, 4, 8, 4), lambda n, x, s, two: n.put("GlobalAveragePool", x)),
    "add": (MAP, None),
}  # fmt: skip


def single(kind, dtype, two, seed, folder):
    """A QDQ model of one layer with random parameters: (path, integer graph, quantised output tensor)."""
    shape, write = KINDS[kind]
    net = Net(*shape, seed=seed)
    sx, zx = scale(net, two), zero_point(net, dtype)
    x = net.quantised("x", sx, zx, dtype)
    if kind == "add":
        net.inputs.append(helper.make_tensor_value_info("x2", 1, list(shape)))
        other = net.quantised("x2", scale(net, two), zero_point(net, dtype), dtype)
        y, sy = net.put("Add", x, other), scale(net, two, 0.02, 0.1)
    else:
        y = write(net, x, sx, two)
        sy = (
            scale(net, two, 0.02, 0.2)
            if kind.split()[0] not in ("average", "maximum", "global")
            else scale(net, two)
        )
        sy = sx if kind == "maximum" else sy
    low = np.iinfo(dtype).min if kind == "relu" else zx if kind == "maximum" else zero_point(net, dtype)
    y = net.quantised(y, sy, int(low), dtype)
    return net.save(folder, y, file=f"{seed}.onnx"), y


def compare_single(kind, dtype, two, seed, folder, optimise):
    """What was seen of one random layer on constant and random inputs."""
    path, y = single(kind, dtype, two, seed, folder)
    imported, whole = integer_graph(path)
    model = onnx.load(str(path))
    tensor = next(n.input[0] for n in model.graph.node if n.output[0] == y)
    reference = session(exposed_integers(model, [tensor], dtype), optimise=optimise)
    rng, seen = np.random.default_rng(seed + 1), Seen()
    shift = 128 if dtype == np.uint8 else 0
    for i in range(6):
        feeds, integers = {}, {}
        for name in whole.inputs:
            value = whole.values[name]
            q = rng.integers(-128, 128, value.shape) if i else np.full(value.shape, rng.choice([-128, 127]))
            integers[name] = q
            real = (q - value.quant.zero) * float(value.quant.scale[0])
            feeds[name] = real.astype(np.float32)[None]
        want = reference.run([tensor], feeds)[0][0].astype(np.int64) - shift
        values = run(whole, integers)
        name = whole.outputs[0]
        gap = np.abs(want - values[name])
        right = is_exact(imported.graph, whole, values, name, gap > 0)
        seen.add(gap, distance_from_tie(whole, values, name), right)
    return seen


def exposed_integers(model, tensors, dtype):
    copy = exposed(model, [])
    for tensor in tensors:
        copy.graph.output.append(helper.make_tensor_value_info(tensor, BY_TYPE[np.dtype(dtype)], None))
    return copy


@pytest.mark.parametrize("optimise", [False, True], ids=["disable_all", "enable_all"])
@pytest.mark.parametrize("two", [True, False], ids=["power-of-two", "random"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8], ids=["s8", "u8"])
def test_single_layers(dtype, two, optimise, tmp_path):
    total = differing = 0
    for kind in KINDS:
        wrong = compared = inexact = 0
        for seed in range(12):
            found = compare_single(kind, dtype, two, seed, tmp_path, optimise)
            assert found.worst <= 1, (kind, seed, found)
            assert found.from_tie < NEAR, (kind, seed, found)
            wrong, compared = wrong + found.differing, compared + found.compared
            inexact += found.inexact
        print(f"{kind}: {wrong} of {compared} elements differ, by 1 step; {inexact} where ours is inexact")
        assert inexact == 0, kind
        ties = optimise and ("average" in kind or kind == "add")
        assert wrong <= compared * (0.2 if ties else 0 if two else 5e-4), kind
        total, differing = total + compared, differing + wrong
    print(f"all: {differing} of {total}")


# -- whole networks, replayed ------------------------------------------------------------------------


def network(dtype, two, seed, folder):
    """Conv, depthwise, residual, pools, dense; every activation quantised."""
    net = Net(1, 4, 12, 12, seed=seed)
    low = np.iinfo(dtype).min

    def q(y, relu=False, s=None):
        s = scale(net, two, 0.02, 0.1) if s is None else s
        return net.quantised(y, s, int(low) if relu else zero_point(net, dtype), dtype), s

    x, s = q("x", s=scale(net, two, 0.01, 0.02))
    a, sa = q(net.put("Relu", conv(net, x, s, two, outputs=4, pads=[1, 1, 1, 1])), relu=True)
    b, _ = q(conv(net, a, sa, two, groups=4, outputs=4, pads=[1, 1, 1, 1]))
    c, sc = q(net.put("Add", a, b))
    d, sd = q(net.put("MaxPool", c, kernel_shape=[2, 2], strides=[2, 2]), s=sc)
    e, se = q(net.put("AveragePool", d, kernel_shape=[2, 2], strides=[2, 2]), s=sd)
    f, sf = q(net.put("Relu", conv(net, e, se, two, outputs=16, pads=[1, 1, 1, 1])), relu=True)
    g, sg = q(net.put("GlobalAveragePool", f), s=sf)
    w, sw = weights(net, (10, 16), two, 0)
    h, _ = q(net.put("Gemm", net.put("Flatten", g), w, bias(net, 10, sw, sg, two), transB=1))
    return net.save(folder, h, file=f"net{seed}.onnx")


@pytest.mark.parametrize("optimise", [False, True], ids=["disable_all", "enable_all"])
@pytest.mark.parametrize("two", [True, False], ids=["power-of-two", "random"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8], ids=["s8", "u8"])
def test_random_networks_layer_by_layer(dtype, two, optimise, tmp_path):
    seen: dict[str, list[int]] = {}
    for seed in range(6):
        path = network(dtype, two, seed, tmp_path)
        x = np.random.default_rng(seed).normal(0, 0.8, (8, 4, 12, 12)).astype(np.float32)
        result, whole = replay(path, x, optimise=optimise)
        assert len(result) == 9  # the input and every layer of the network above
        for value, found in result.items():
            assert found.worst <= 1, (seed, value)
            assert found.from_tie < NEAR, (seed, value, found)
            count = seen.setdefault(layer(whole, value), [0, 0, 0])
            for i, more in enumerate((found.differing, found.compared, found.inexact)):
                count[i] += more
    for name, (differing, compared, inexact) in seen.items():
        print(
            f"{name}: {differing} of {compared} elements differ, by 1 step; {inexact} where ours is inexact"
        )
        assert inexact == 0, name
        ties = optimise and name in ("Add", "AveragePool")
        ties |= not two and name == "AveragePool"
        assert differing <= (0.2 if ties else 0 if two else 2e-4) * compared, name
    print(f"all: {sum(d for d, *_ in seen.values())} of {sum(n for _, n, _ in seen.values())}")


def layer(graph, value):
    """The op that a value comes from, past its requantisation."""
    node = graph.producer(value)
    if node is None:
        return "input"
    before = graph.producer(node.inputs[0])
    fused = isinstance(node.op, Requantise) and before is not None and before.op.accumulates
    return type((before if fused else node).op).__name__


# -- models of the world -----------------------------------------------------------------------------


def data_folder():
    """TINYBOUND_DATA, or data/ in a folder `shared` beside the repository."""
    named = os.environ.get("TINYBOUND_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


MODELS = sorted(p for p in data_folder().glob("*/*qdq*.onnx")) if data_folder().is_dir() else []


def rounds_first(imported, graph, value):
    """Whether a layer reads what the file leaves in floats, an input mostly: here that is quantised."""
    node = graph.producer(value)
    before = None if node is None else graph.producer(node.inputs[0])
    node = before if before is not None and before.op.accumulates else node
    return node is not None and any(i not in imported.activations for i in node.inputs)


@pytest.mark.skipif(not MODELS, reason="no folder of models (TINYBOUND_DATA)")
@pytest.mark.parametrize("optimise", [False, True], ids=["disable_all", "enable_all"])
@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_models_layer_by_layer(path, optimise):
    imported = load_onnx(path)
    (name,) = imported.graph.inputs
    low, high = real_range(imported, name)
    shape = imported.graph.values[name].shape
    x = np.random.default_rng(0).uniform(low, high, (4, *shape)).astype(np.float32)

    result, whole = replay(path, x, optimise=optimise)

    assert len(result) > 2
    for value, found in result.items():
        if found.differing and layer(whole, value) != "Softmax":
            count = f"{found.differing} of {found.compared}, {found.from_tie:.1e} from a tie"
            print(f"  {layer(whole, value)} {value}: {count}")
            assert found.from_tie < NEAR or rounds_first(imported, whole, value)
            assert not found.inexact or rounds_first(imported, whole, value)
        assert found.worst <= 1, value
    free = [v for v in result if layer(whole, v) == "Softmax" or rounds_first(imported, whole, v)]
    integers = [f for v, f in result.items() if v not in free]
    differing, compared = sum(f.differing for f in integers), sum(f.compared for f in integers)
    print(f"{path.stem}: {differing} of {compared} elements differ in {len(integers)} layers, by 1 step")
    assert differing <= 1e-4 * compared + 1
