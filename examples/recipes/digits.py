# SPDX-License-Identifier: Apache-2.0
"""Classifiers of scikit-learn's 8 x 8 digits, pixels scaled to [0, 1]."""

import numpy as np

from recipes.files import write_float, write_qdq
from recipes.nets import Node, cross_entropy, finish, fold, forward, he, train

TEST, CALIBRATION = 360, 128  # images held out, images to calibrate on


def data():
    """(x, labels) for training and for testing; x is (N, 1, 8, 8), multiples of 1/16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(2024).permutation(len(digits.target))
    x, labels = digits.images[order][:, None] / 16, digits.target[order]
    return (x[TEST:], labels[TEST:]), (x[:TEST], labels[:TEST])


def batches(x, labels, seed, *, shift, size=64):
    """Random batches for ever; shift moves each batch by up to one pixel in each direction."""
    rng = np.random.default_rng(seed)
    while True:
        picked = rng.integers(0, len(x), size)
        batch = x[picked]
        if shift:
            down, right = rng.integers(0, 3, 2)
            batch = np.pad(batch, ((0, 0), (0, 0), (1, 1), (1, 1)))[:, :, down : down + 8, right : right + 8]
        yield batch, labels[picked]


def conv(rng, source, name, outputs, inputs, *, bias=True, stride=1):
    params = {"w": he(rng, outputs, inputs, 3, 3)} | ({"b": np.zeros(outputs)} if bias else {})
    return Node("Conv", (source,), name, params, {"pad": 1, "stride": stride})


def gemm(rng, source, name, outputs, inputs):
    return Node("Gemm", (source,), name, {"w": he(rng, outputs, inputs), "b": np.zeros(outputs)})


def cnn(rng):
    unit = {"scale": np.ones(8), "shift": np.zeros(8)}
    return [
        conv(rng, "x", "conv1", 8, 1, bias=False),
        Node("BatchNormalization", ("conv1",), "norm1", unit, {"epsilon": 1e-5}),
        Node("Relu", ("norm1",), "relu1"), Node("MaxPool", ("relu1",), "pool1", {}, {"kernel": 2}),
        conv(rng, "pool1", "conv2", 16, 8), Node("Relu", ("conv2",), "relu2"),
        Node("AveragePool", ("relu2",), "pool2", {}, {"kernel": 2}),
        Node("Flatten", ("pool2",), "flat"), gemm(rng, "flat", "dense", 10, 64),
    ]  # fmt: skip


def mlp(rng):
    return [
        gemm(rng, "x", "dense1", 32, 64), Node("Relu", ("dense1",), "relu1"),
        gemm(rng, "relu1", "dense2", 10, 32),
    ]  # fmt: skip


def residual(rng):
    return [
        conv(rng, "x", "stem", 8, 1), Node("Relu", ("stem",), "relu1"),
        conv(rng, "relu1", "conv1", 16, 8, stride=2), Node("Relu", ("conv1",), "relu2"),
        conv(rng, "relu2", "conv2", 16, 16), Node("Add", ("conv2", "relu2"), "add"),
        Node("Relu", ("add",), "relu3"),
        Node("GlobalAveragePool", ("relu3",), "mean"), Node("Flatten", ("mean",), "flat"),
        gemm(rng, "flat", "dense", 10, 16),
    ]  # fmt: skip


def make(folder, name, build, *, steps, rate, decay, seed, batch=1):
    """Trains one network and writes its float, s8 and data files.

    Returns (nodes, x to calibrate on, shape of x).
    """
    (x, labels), (test_x, test_labels) = data()
    flat = build is mlp
    if flat:
        x, test_x = x.reshape(len(x), -1), test_x.reshape(len(test_x), -1)
    nodes = build(np.random.default_rng(seed))
    train(nodes, batches(x, labels, seed, shift=not flat), cross_entropy, rate=rate, decay=decay, steps=steps)
    finish(nodes, x)
    shape, calibration = x.shape[1:], x[:CALIBRATION]
    write_float(folder / f"{name}.onnx", nodes, shape, batch=batch)
    write_qdq(folder / f"{name}_qdq.onnx", nodes, shape, calibration, batch=batch)
    np.savez_compressed(folder / f"{name}_calibration.npz", x=calibration.astype(np.float32))
    np.savez_compressed(folder / f"{name}_test.npz", x=test_x.astype(np.float32), y=test_labels)
    values, _ = forward(fold(nodes), test_x)
    print(f"{name}: {np.mean(values[nodes[-1].output].argmax(axis=1) == test_labels):.2%} of the test images")
    return nodes, calibration, shape


def make_cnn(folder):
    nodes, x, shape = make(folder, "digits_cnn", cnn, steps=1500, rate=0.01, decay=0.1, seed=1)
    write_float(folder / "digits_cnn_softmax.onnx", nodes, shape, softmax=True)
    write_qdq(folder / "digits_cnn_qdq_u8.onnx", nodes, shape, x, dtype=np.uint8)


def make_mlp(folder):
    make(folder, "digits_mlp", mlp, steps=1500, rate=0.01, decay=0.4, seed=2, batch="N")


def make_residual(folder):
    make(folder, "residual_cnn", residual, steps=2500, rate=0.01, decay=0.03, seed=3)
