# SPDX-License-Identifier: Apache-2.0
"""Values inside a quantised model that its file does not quantise: at most a step from ONNX Runtime."""

import numpy as np
import pytest
from onnx_nets import Net
from replay import replay

from tinybound.domains.exact import run
from tinybound.frontends import load_onnx
from tinybound.options import Options
from tinybound.pipeline import build_networks
from tinybound.quantise.inner import exact_scales

MAP, LINE, VECTOR = (1, 3, 6, 5), (1, 3, 9), (1, 12)


def slopes(*shape):
    return lambda n, x: n.put("PRelu", x, n.constant(n.rng.uniform(-1.6, 1.6, shape).astype(np.float32)))


def pool(**attributes):
    return lambda n, x: n.put("AveragePool", x, **attributes)


def zero_slope(net, x):
    return net.put("PRelu", x, net.constant(np.float32([0, 0.1, 1]).reshape(3, 1, 1)))


FORMS = {
    "slope per channel": (MAP, slopes(3, 1, 1)),
    "one slope": (MAP, slopes(1)),
    "a slope of 0": (MAP, zero_slope),
    "slope per element": (MAP, slopes(3, 6, 5)),
    "slope per column": (MAP, slopes(5)),
    "slopes on a line": (LINE, slopes(3, 1)),
    "slope per place of a line": (LINE, slopes(9)),
    "slopes of a vector": (VECTOR, slopes(12)),
    "pool, padding not counted": (MAP, pool(kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "pool with strides": (MAP, pool(kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 2, 1])),
    "pool larger than the map": (MAP, pool(kernel_shape=[7, 5], pads=[3, 2, 3, 2])),
    "pool, sizes rounded up": (MAP, pool(kernel_shape=[4, 3], strides=[4, 4], ceil_mode=1)),
    "pool, sizes rounded up, counted": (MAP, pool(kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1,
                                                  pads=[1, 1, 0, 1], count_include_pad=1)),
    "pool, same lower": (MAP, pool(kernel_shape=[2, 4], strides=[1, 2], auto_pad="SAME_LOWER")),
    "sum of rows": (MAP, lambda n, x: n.put("ReduceSum", x, n.constant([2], np.int64))),
    "limited below": (MAP, lambda n, x: n.put("Max", x, n.constant(-0.3))),
    "a constant joined": (MAP, lambda n, x: n.put("Concat", n.normal(1, 3, 2, 5), x, axis=2)),
    "zeros joined": (VECTOR, lambda n, x: n.put("Concat", x, n.constant(np.zeros((1, 3))), axis=-1)),
    "pool on a line": (LINE, pool(kernel_shape=[4], pads=[2, 3])),
}  # fmt: skip


def saved(form, dtype, two, seed, folder):
    """QDQ around one op; the output's scale is anything from saturating to coarse."""
    shape, write = FORMS[form]
    net = Net(*shape, seed=seed)
    low = np.iinfo(dtype).min

    def quantised(x, scale):
        scale = float(2.0 ** np.round(np.log2(scale))) if two else float(np.float32(scale))
        return net.quantised(x, scale, int(low + net.rng.choice([0, 1, 60, 128, 200, 255])), dtype)

    y = write(net, quantised("x", net.rng.uniform(0.02, 0.06)))
    return net.save(folder, quantised(y, net.rng.uniform(0.01, 0.09)), file=f"{seed}.onnx")


def inputs(path, seed, count=5):
    """Samples over all that the input can hold, some of them all alike."""
    imported = load_onnx(path)
    low, high = imported.activations["x"].reals
    shape = imported.graph.values["x"].shape
    rng = np.random.default_rng(seed)
    ends = [np.full(shape, end) for end in (low, high)]
    return np.stack([*ends, *(rng.uniform(low, high, (count, *shape)))]).astype(np.float32)


@pytest.mark.parametrize("two", [True, False], ids=["power-of-two", "random"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8], ids=["s8", "u8"])
@pytest.mark.parametrize("form", FORMS)
def test_as_onnx_runtime(form, dtype, two, tmp_path):
    differing = compared = 0
    for seed in range(2):
        path = saved(form, dtype, two, seed, tmp_path)
        result, whole = replay(path, inputs(path, seed), optimise=False)
        (found,) = [seen for value, seen in result.items() if value not in whole.inputs]
        assert found.worst <= 1, (seed, found)
        differing, compared = differing + found.differing, compared + found.compared
    print(f"{form}: {differing} of {compared} elements differ, by 1 step")
    # Means that keep a scale, and means of 6 and 9 elements at power-of-two scales, lie at ties.
    assert differing <= (0.1 if "pool" in form else 1e-3) * compared


def test_a_range_from_samples_would_fail(tmp_path, monkeypatch):
    monkeypatch.setattr("tinybound.pipeline.exact_scales", lambda *_: {})
    monkeypatch.setattr("tinybound.pipeline.summed", lambda graph: set(graph.values))
    monkeypatch.setattr("tinybound.pipeline.widen", lambda seen, _: seen)
    worst = 0.0
    for seed in range(4):
        path = saved("slope per channel", np.int8, False, seed, tmp_path)
        result, _ = replay(path, inputs(path, seed), optimise=False)
        worst = max(worst, *(seen.worst for seen in result.values()))
    assert worst > 1


# -- values that no rule makes exact -----------------------------------------------------------------


def chain(net, x):
    """A product of two branches, of which the file quantises the end only."""
    a, b = net.put("PRelu", x, net.constant(np.float32([0.7]))), net.put("Sigmoid", x)
    return net.put("Relu", net.put("Add", net.put("Mul", a, b), x))


def test_inner_values_never_saturate_alone(tmp_path):
    FORMS["chain"] = (MAP, chain)
    path = saved("chain", np.int8, False, 3, tmp_path)
    del FORMS["chain"]

    build = build_networks(path, Options())

    graph, known = build.integer_graph, load_onnx(path).activations
    inner = [n for n in graph.values if n not in known and len(graph.values[n].quant.scale) == 1]
    values = [run(build.float_graph, {"x": x}) for x in inputs(path, 0, 50).astype(np.float64)]
    stored = [n for n in inner if not graph.producer(n).op.accumulates]
    assert len(stored) >= 5
    for name in stored:
        quant = graph.values[name].quant
        q = np.array([each[name] for each in values]) / float(quant.scale[0]) + quant.zero
        assert np.array_equal(q, np.clip(q, -128.5, 127.5)), name


def test_one_more_reader_of_a_slope_takes_the_scale_away(tmp_path):
    net = Net(*MAP, seed=1)
    x = net.quantised("x", 0.05, 3, np.int8)
    above, below = net.put("Relu", x), net.put("Clip", x, "", net.constant(np.float32(0)))
    scaled = net.put("Mul", below, net.constant(np.float32(0.3)))
    y = net.quantised(net.put("Add", above, scaled), 0.02, 3, np.int8)
    z = net.quantised(net.put("Mul", scaled, y), 0.05, 1, np.int8)
    imported = load_onnx(net.save(tmp_path, z))

    exact = exact_scales(imported.graph, imported.activations)

    assert {s.scale for s in exact.values()} == {imported.activations["x"].scale}
    assert len(exact) == 2


def test_only_a_factor_per_element_is_a_slope(tmp_path):
    """Weights that also move an element (here: they swap channels) do not make a PRelu."""
    weights = np.zeros((3, 3, 1, 1), np.float32)
    weights[[0, 1, 2], [1, 0, 2]] = 0.3
    for moved in (weights, weights[[1, 0, 2]]):
        net = Net(*MAP, seed=1)
        x = net.quantised("x", 0.05, 3, np.int8)
        above, below = net.put("Relu", x), net.put("Clip", x, "", net.constant(np.float32(0)))
        y = net.put("Add", above, net.put("Conv", below, net.constant(moved)))
        imported = load_onnx(net.save(tmp_path, net.quantised(y, 0.02, 3, np.int8)))
        assert len(exact_scales(imported.graph, imported.activations)) == 2
