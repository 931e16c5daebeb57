# SPDX-License-Identifier: Apache-2.0
"""Networks of the kinds that users bring, with random weights: what they compute is beside the point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx_nets import Net


class Layers:
    """A Net whose layers keep the spread of their input, batch normalisation and Relu behind each."""

    def __init__(self, *shape: int, seed: int) -> None:
        self.net, self.shape = Net(*shape, seed=seed), shape

    def conv(
        self,
        x: str,
        inputs: int,
        outputs: int,
        *kernel: int,
        groups: int = 1,
        relu: bool = True,
        **more: object,
    ) -> str:
        """Convolution, normalisation, and mostly a Relu; `inputs` channels to `outputs`."""
        net, depth = self.net, inputs // groups
        weights = net.normal(outputs, depth, *kernel, scale=float(np.sqrt(2 / (depth * np.prod(kernel)))))
        y = net.put("Conv", x, weights, group=groups, **more)
        parts = [net.rng.uniform(0.7, 1.3, outputs), net.rng.normal(0, 0.2, outputs)]
        parts += [net.rng.normal(0, 0.2, outputs), net.rng.uniform(0.7, 1.3, outputs)]
        y = net.put("BatchNormalization", y, *[net.constant(part) for part in parts])
        return net.put("Relu", y) if relu else y

    def classes(self, x: str, inputs: int, outputs: int) -> str:
        """Global average, dense layer, softmax."""
        net = self.net
        y = net.put("Flatten", net.put("GlobalAveragePool", x))
        y = net.put("Gemm", y, net.normal(inputs, outputs, scale=0.3), net.normal(outputs, scale=0.1))
        return net.put("Softmax", y, axis=-1)


def mobilenet(folder: Path) -> Path:
    """MobileNetV1, width 0.25, 96 x 96 x 3, 2 classes: the shape of MLPerf Tiny's visual wake words."""
    layers = Layers(1, 3, 96, 96, seed=1)
    y = layers.conv("x", 3, 8, 3, 3, strides=[2, 2], pads=[0, 0, 1, 1])
    depth = 8
    middle = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5]
    for wide, stride in (*middle, (256, 2), (256, 1)):
        pads = [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
        y = layers.conv(y, depth, depth, 3, 3, groups=depth, strides=[stride, stride], pads=pads)
        y, depth = layers.conv(y, depth, wide, 1, 1), wide
    return layers.net.save(folder, layers.classes(y, depth, 2))


def residual(folder: Path) -> Path:
    """Three residual blocks, the later ones with a strided shortcut, 16 x 16 x 3."""
    layers = Layers(1, 3, 16, 16, seed=2)
    net, y, depth = layers.net, layers.conv("x", 3, 8, 3, 3, pads=[1, 1, 1, 1]), 8
    for wide, stride in ((8, 1), (12, 2), (16, 2)):
        inner = layers.conv(y, depth, wide, 3, 3, strides=[stride, stride], pads=[1, 1, 1, 1])
        inner = layers.conv(inner, wide, wide, 3, 3, pads=[1, 1, 1, 1], relu=False)
        short = y
        if wide != depth:
            short = layers.conv(y, depth, wide, 1, 1, strides=[stride, stride], relu=False)
        y, depth = net.put("Relu", net.put("Add", inner, short)), wide
    return net.save(folder, layers.classes(y, depth, 10))


def stream(folder: Path) -> Path:
    """A DS-CNN on a line, as for a streaming wake word: 30 frames of 40 features, 12 classes."""
    layers = Layers(1, 40, 30, seed=3)
    y, depth = layers.conv("x", 40, 32, 3, pads=[1, 1]), 32
    for wide, kernel, dilation in ((48, 9, 1), (48, 9, 1), (64, 5, 2)):
        pad = dilation * (kernel - 1) // 2
        y = layers.conv(y, depth, depth, kernel, groups=depth, pads=[pad, pad], dilations=[dilation])
        y, depth = layers.conv(y, depth, wide, 1), wide
    y = layers.net.put("MaxPool", y, kernel_shape=[2], strides=[2])
    return layers.net.save(folder, layers.classes(y, depth, 12))


NETWORKS = {"mobilenet": mobilenet, "residual": residual, "stream": stream}
