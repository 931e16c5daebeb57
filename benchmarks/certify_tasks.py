# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/certify.py certifies: networks, boxes, and the goals of each.

A task's name is GROUP/NETWORK/WEIGHTS/BOX. Its files are made or found when it is run: MNIST's are converted,
the controller of three inputs (angle, angular velocity and current of a motor) is trained, both in seconds.
"""

import contextlib
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinybound.graph import Graph
from tinybound.options import Options

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RANGE = np.array([[-0.5, -0.5, -0.5, -0.5, -0.5], [0.68, 0.5, 0.5, 0.5, 0.5]])
POINTS = {
    "fp1": [0, 0, 0, 0, 0],
    "fp2": [0.2, -0.1, 0, -0.3, 0.4],
    "fp3": [0.45, -0.23, -0.4, 0.12, 0.33],
    "fp4": [-0.2, -0.25, -0.5, -0.3, -0.44],
    "fp5": [0.61, 0.36, 0, 0, -0.24],
}
PROPERTIES = {
    "p1": [[0.6, -0.5, -0.5, 0.45, -0.5], [0.679857769, 0.5, 0.5, 0.5, -0.45]],
    "p3": [[-0.303531156, -0.009549297, 0.493380324, 0.3, 0.3], [-0.298552812, 0.009549297, 0.5, 0.5, 0.5]],
}
# State: angle (rad), angular velocity (rad/s), current (A). Control: voltage (V).
MOTOR = {
    "a": [[0, 1, 0], [0, -0.5, 2], [0, -1, -4]], "b": [[0], [0], [2]],
    "q": [4, 0.2, 0.1], "r": [0.1], "limit": 3.0, "upper": [1, 2, 1],
}  # fmt: skip
IMAGES = 6  # balls of each network of images


@dataclass(frozen=True)
class Task:
    """`files()`: the model and how it is compiled; `ends(integer network)`: of the box (None: the domain);
    `goal`: a ratio, and in how many seconds; `limit`: seconds after which it is stopped; `whole`: seconds
    for backward passes over the box, which then is not cut."""

    name: str
    files: Callable[[], tuple[Path, Options]]
    ends: Callable[[Graph], tuple[np.ndarray, np.ndarray]] | None
    limit: float
    goal: tuple[float, float] | None = None
    whole: float = 0


def tasks(data, work):
    """All for which there is data, by name; `work`: a folder for files that are made."""
    every = [*acas(data / "acasxu", work), *controllers(work), *digits(), *mnist(data, work), *tiny(data)]
    return {task.name: task for task in every}


def box_of(name, radius):
    """lower, upper of a box of ACAS Xu, in the normalised inputs of its files; radius in 255ths."""
    if name in PROPERTIES:
        return np.array(PROPERTIES[name])
    return np.array(POINTS[name]) + np.array([[-1], [1]]) * radius / 255


def full_range(work):
    """Calibration of ACAS Xu on its full input range."""
    file = work / "acas.npz"
    np.savez(file, X=RANGE[0] + np.random.default_rng(0).random((2000, 5)) * (RANGE[1] - RANGE[0]))
    return file


def acas(folder, work):
    """Balls about fix points, property boxes, all inputs."""
    boxes = [(f"{name}-r3", box_of(name, 3), 20, (1.02, 5)) for name in POINTS]
    boxes += [(f"{name}-r6", box_of(name, 6), 60, (1.05, 20)) for name in POINTS]
    boxes += [("p3", box_of("p3", 0), 120, (1.5, 120)), ("p1", box_of("p1", 0), 300, (3, 300))]
    boxes += [("all", RANGE, 60, None)]
    for path in sorted(folder.glob("ACASXU_run2a_*_batch_2000.onnx")):
        net = re.search(r"run2a_(\d_\d)", path.name)[1]
        for code in ("int8", "int4"):
            files = partial(_calibrated, path, partial(full_range, work), weights=(code,))
            for name, ends, limit, goal in boxes:
                yield Task(f"acas/{net}/{code}/{name}", files, partial(_fixed, *ends), limit, goal)


def controllers(work):
    """Their whole domains."""
    for name, goal in (("controller2", (1.01, 10)), ("motor3", (1.1, 60)), ("controller4", (1.1, 60))):
        yield Task(f"controllers/{name}/int8/domain", partial(_controller, name, work), None, 60, goal)


def digits():
    """Balls of 1/16 about test images."""
    for name, goal in (("digits_mlp", None), ("digits_cnn", (5, 60))):
        files = partial(
            _calibrated, EXAMPLES / f"{name}.onnx", lambda n=name: EXAMPLES / f"{n}_calibration.npz"
        )
        images = np.load(EXAMPLES / f"{name}_test.npz")["x"][:IMAGES].astype(float)
        for i, x in enumerate(images):
            yield Task(f"digits/{name}/int8/{i}", files, partial(_ball, x, 1 / 16), 10, goal)


def mnist(data, work):
    """784-100-100-10-10: balls of 3/255 about images."""
    source, images = data / "mnist" / "mnist_relu_3_100.nnet", data / "images" / "mnist_cifar_shared.npz"
    if not (source.exists() and images.exists()):
        return
    pixels = np.load(images)["mnist_x"] / 255.0

    def files():
        nnet(source, work / "mnist.onnx")
        np.savez(work / "mnist.npz", x=pixels.astype(np.float32))
        return _calibrated(work / "mnist.onnx", lambda: work / "mnist.npz")

    for i, x in enumerate(pixels[:IMAGES]):
        yield Task(f"mnist/784-100-100-10-10/int8/{i}", files, partial(_ball, x, 3 / 255), 10, (4, 10))


def tiny(data):
    """DS-CNN and ResNet-8 of MLPerf Tiny, quantised as they are: one integer up and down from random inputs
    within 64 integers of 0 (half), from any (any), and from 0 (zeros)."""

    def ends(far, seed, whole):
        (name,) = whole.inputs
        value, rng = whole.values[name], np.random.default_rng(seed)
        low, high = -128 - value.quant.zero, 127 - value.quant.zero
        step, reach = float(value.quant.scale[0]), (low, high) if far is None else (-far, far)
        middle = rng.integers(reach[0], reach[1] + 1, value.shape)
        return step * np.clip(middle - 1, low, high), step * np.clip(middle + 1, low, high)

    for network, file, goal in (
        ("kws/ds-cnn", "kws_dscnn_qdq_s8s8.onnx", (20, 300)),
        ("ic/resnet-8", "ic_resnet8_qdq_s8s8.onnx", None),
    ):
        model = data / "mlperf_tiny" / file
        if model.exists():
            files = partial(_quantised, model)
            for kind, far, count in (("half", 64, 3), ("any", None, 3), ("zeros", 0, 1)):
                for i in range(count):
                    yield Task(f"{network}/int8/{kind}-{i}", files, partial(ends, far, i), 600, goal, 300)


def _quantised(path):
    return path, Options(target="c")


def _calibrated(path, calibration, **more):
    return path, Options(target="c", calibration=calibration(), **more)


def _controller(name, work):
    folder = EXAMPLES
    if name == "motor3":
        sys.path.insert(0, str(EXAMPLES))
        from recipes.controllers import make

        folder = work
        with contextlib.redirect_stdout(io.StringIO()):  # standard output is a table
            make(work, name, MOTOR, seed=6, steps=3000, decay=0.3)
    return folder / f"{name}.onnx", Options(target="c", domain=str(folder / f"{name}_box.json"))


def _fixed(lower, upper, _whole):
    return lower, upper


def _ball(middle, radius, _whole):
    return np.clip(middle - radius, 0, 1), np.clip(middle + radius, 0, 1)


def nnet(path, to):
    """A .nnet file (weights, then biases of each layer, one row a line) as ONNX."""
    lines = [line.strip(" ,") for line in path.read_text().splitlines() if not line.startswith("//")]
    sizes, rows = [int(n) for n in lines[1].split(",")], iter(lines[7:])
    nodes, constants, value = [], [], "x"
    for k, size in enumerate(sizes[1:]):
        parts = [np.array([next(rows).split(",") for _ in range(size)], np.float32) for _ in range(2)]
        constants += [
            numpy_helper.from_array(parts[0], f"w{k}"),
            numpy_helper.from_array(parts[1].ravel(), f"b{k}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{k}", f"b{k}"], [f"h{k}"], f"dense{k}", transB=1))
        value = f"h{k}"
        if k < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [value], [f"a{k}"], f"relu{k}"))
            value = f"a{k}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", sizes[0]), (value, sizes[-1]))
    ]
    graph = helper.make_graph(nodes, path.stem, ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), to)
