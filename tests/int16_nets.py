# SPDX-License-Identifier: Apache-2.0
"""Networks with activations of 16 bits: as ONNX Runtime's quantize_static writes them, and single layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx_nets import Net

SHAPE = (3, 9, 8)


class Samples:
    """What quantize_static calibrates on."""

    def __init__(self, shape: tuple[int, ...], count: int = 16) -> None:
        self.left = iter(np.random.default_rng(5).normal(0, 1, (count, 1, *shape)).astype(np.float32))

    def get_next(self) -> dict[str, Any] | None:
        """One input after the other, then None."""
        x = next(self.left, None)
        return None if x is None else {"x": x}


def residual(folder: Path) -> Path:
    """A float network with every kind of layer that 16 bits are for."""
    net = Net("N", *SHAPE, opset=21, seed=3)
    w = net.normal(8, 3, 3, 3, scale=0.3)
    x = net.put("Conv", "x", w, net.normal(8), pads=[1, 0, 1, 2], strides=[2, 1])
    x = net.put("Relu", x)
    y = net.put("Conv", x, net.normal(8, 1, 3, 3), net.normal(8), pads=[1, 1, 1, 1], group=8)
    y = net.put("Conv", y, net.normal(8, 4, 1, 1), net.normal(8), group=2)
    z = net.put("Add", x, y)
    z = net.put("Concat", z, net.put("MaxPool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), axis=1)
    z = net.put("AveragePool", z, kernel_shape=[2, 2], strides=[2, 2])
    z = net.put("Relu", net.put("Conv", z, net.normal(12, 16, 2, 2, scale=0.2), net.normal(12)))
    z = net.put("Flatten", net.put("GlobalAveragePool", z))
    return net.save(folder, net.put("Gemm", z, net.normal(12, 5), net.normal(5)), file="float.onnx")


def quantised(folder: Path, kind: str, model: Path | None = None, shape: tuple[int, ...] = SHAPE) -> Path:
    """The network through ONNX Runtime's quantize_static: int8 weights per channel, activations of `kind`."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    out = folder / f"{kind.lower()}.onnx"
    quantize_static(
        str(model or residual(folder)), str(out), Samples(shape), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=getattr(QuantType, kind), weight_type=QuantType.QInt8,
    )  # fmt: skip
    return out
