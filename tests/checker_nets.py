# SPDX-License-Identifier: Apache-2.0
"""Builds that the checker is tested on: the bundled models, and random small networks as ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import Net

from tinybound.boxes import Box
from tinybound.build import Build
from tinybound.build import compile as compile_model
from tinybound.certify import certificate
from tinybound.certify.effort import Effort
from tinybound.ops import BY_ONNX
from tinybound.options import Options

# name -> model, calibration, radius of the ball (None: the whole domain), further options, run-time bits
BUNDLED = {
    "controller2": ("controller2", None, None, {}, 8),
    "controller4": ("controller4", None, None, {}, 8),
    "digits_mlp": ("digits_mlp", "digits_mlp", 1 / 16, {}, 8),
    "digits_cnn_64": ("digits_cnn", "digits_cnn", 1 / 64, {}, 8),
    "digits_cnn_16": ("digits_cnn", "digits_cnn", 1 / 16, {}, 8),
    "residual_cnn": ("residual_cnn", "residual_cnn", 1 / 64, {}, 8),
    "softmax": ("digits_cnn_softmax", "digits_cnn", 1 / 64, {}, 8),
    "qdq": ("digits_cnn_qdq", None, 1 / 64, {}, 8),
    "qdq_u8": ("digits_cnn_qdq_u8", None, 1 / 64, {}, 8),
    "residual_qdq": ("residual_cnn_qdq", None, 1 / 64, {}, 8),
    "reference": ("digits_cnn_qdq", None, 1 / 64, {"reference": "digits_cnn"}, 8),
    "pool64": ("digits_cnn", "digits_cnn", 1 / 64, {"weights": ("pool64",)}, 8),
    "int4": ("digits_cnn", "digits_cnn", 1 / 64, {"weights": ("int4",)}, 8),
    "pot4": ("digits_cnn", "digits_cnn", 1 / 64, {"weights": ("pot4",)}, 8),
    "pow2": ("digits_cnn", "digits_cnn", 1 / 64, {"scales": "pow2"}, 8),
    "tflite": ("digits_cnn", "digits_cnn", 1 / 64, {"requant": "tflite-double"}, 8),
    "bits4": ("digits_mlp", "digits_mlp", 1 / 64, {"weights": ("pool64",)}, 4),
}

# The others have these for siblings, or test_softmax, or small random networks of the same code and scales.
QUICK = ("controller2", "controller4", "digits_mlp", "reference", "bits4")


def bundled_path(name: str, folder: Path) -> Path:
    """Where the certificate lies: one at fewer bits is not the build's own, and lies beside it."""
    return folder / "certificate.json" if BUNDLED[name][4] == 8 else folder.with_suffix(".json")


def bundled(name: str, examples: Path, folder: Path) -> tuple[Path, Build]:
    """(certificate, build) of one of BUNDLED."""
    model, calibration, radius, more, bits = BUNDLED[name]
    if "reference" in more:
        more = {**more, "reference": examples / f"{more['reference']}.onnx"}
    npz = None if calibration is None else examples / f"{calibration}_calibration.npz"
    box = str(examples / f"{model}_box.json") if radius is None else None
    build = compile_model(examples / f"{model}.onnx", folder, Options(calibration=npz, domain=box, **more))
    path = bundled_path(name, folder)
    if radius is not None:
        source = build.graph.inputs[0]
        x = np.load(examples / f"{calibration or 'digits_cnn'}_test.npz")["x"][0].astype(float)
        x = x.reshape(build.graph.values[source].shape)
        ends = ({source: np.clip(x + move, 0, 1)} for move in (-radius, radius))
        made = build.certify(Box(*ends), bits=bits)
        if bits != 8:
            path.write_bytes(made.dump())
    return path, build


FUNCTIONS = [  # those of them that the front end takes
    (name, attributes)
    for name, attributes in (
        ("HardSigmoid", {"alpha": 0.3}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("HardSwish", {}),
        ("Gelu", {"approximate": "tanh"}),
        ("Gelu", {}),
        ("Elu", {"alpha": 1.4}),
        ("Erf", {}),
        ("Softplus", {}),
    )
    if name in BY_ONNX
]


def random_net(seed: int, folder: Path) -> Path:
    """An ONNX file; every op appears in some of 8 seeds in a row."""
    rng, kind = np.random.default_rng(seed), seed % 8
    if kind in (0, 1):
        net = Net(1, 2, seed=seed, opset=20)
        h = net.put("Relu", net.put("Gemm", "x", net.normal(2, 5), net.normal(5)))
        if kind:
            name, attributes = FUNCTIONS[seed // 8 % len(FUNCTIONS)]
            h = net.put(name, net.put("MatMul", h, net.normal(5, 4)), **attributes)
        else:
            h = net.put("Clip", net.put("Gemm", h, net.normal(5, 4)), net.constant(-0.3), net.constant(0.4))
        out = net.put("Add", net.put("MatMul", h, net.normal(4, 2)), net.normal(2))
        return net.save(folder, out)
    net = Net(1, 8 if kind == 6 else 2, 4, 4, seed=seed)
    if kind == 2:  # batch norm twice behind a Conv, a third time alone
        h = norm(net, norm(net, net.put("Conv", "x", net.normal(3, 2, 3, 3), pads=[1, 1, 1, 1]), 3), 3)
        h = norm(net, net.put("MaxPool", net.put("Relu", h), kernel_shape=[2, 2], strides=[2, 2]), 3)
    elif kind == 3:
        h = net.put("Relu", net.put("Conv", "x", net.normal(3, 2, 2, 2), net.normal(3), strides=[2, 2]))
        h = net.put("MaxPool", h, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    elif kind == 4:
        h = net.put("Conv", "x", net.normal(2, 1, 3, 3), group=2, pads=[1, 1, 1, 1], dilations=[1, 1])
        h = net.put("AveragePool", h, kernel_shape=[2, 2], strides=[2, 2])
        h = net.put("Transpose", h, perm=[0, 2, 3, 1])
    elif kind == 5:
        a = net.put("Relu", net.put("Conv", "x", net.normal(2, 2, 3, 3), pads=[1, 1, 1, 1]))
        b = net.put("Conv", a, net.normal(2, 2, 1, 1))
        h = net.put("GlobalAveragePool", net.put("Add", a, b))
    elif kind == 6:
        h = net.put("Relu", net.put("Conv", "x", net.normal(8, 8, 3, 3), net.normal(8), pads=[1, 1, 1, 1]))
        h = net.put("AveragePool", h, kernel_shape=[4, 4])
    else:  # an activation of a value that is quantised already
        h = net.put("Relu", net.put("Conv", "x", net.normal(3, 2, 3, 3), strides=[1, 1]))
        h = net.put("Clip", net.put("MaxPool", h, kernel_shape=[2, 2]), net.constant(0.1), net.constant(0.5))
    out = net.put("Gemm", net.put("Flatten", h), net.normal(int(rng.integers(1, 2)) * width(kind), 2))
    return net.save(folder, out)


def norm(net: Net, h: str, channels: int) -> str:
    """A batch normalisation with random statistics."""
    parts = [net.constant(net.rng.normal(0.5, 0.4, channels)) for _ in range(3)]
    return net.put("BatchNormalization", h, *parts, net.constant(net.rng.uniform(0.2, 2, channels)))


def width(kind: int) -> int:
    """Elements before the last layer."""
    return {2: 12, 3: 3, 4: 8, 5: 2, 6: 8, 7: 3}[kind]


def moving(folder: Path) -> Build:
    """Zeros put in, joined maps, a product, a difference and a matrix per row, certified."""
    net = Net(1, 2, 3, 2, opset=18)
    pads = net.constant([0, 0, 1, 0, 0, 0, 0, 1], np.int64)
    a = net.put("Relu", net.put("Conv", net.put("Pad", "x", pads), net.normal(2, 2, 2, 2), net.normal(2)))
    h = net.put("Concat", a, net.put("Mul", a, net.put("Sigmoid", "x")), axis=1)
    h = net.put("Sub", h, net.put("Tile", "x", net.constant([1, 2, 1, 1], np.int64)))
    h = net.put("MatMul", h, net.normal(2, 1))
    folder.mkdir(parents=True, exist_ok=True)
    return compile_model(net.save(folder, h), folder / "build", Options(domain="-0.5,0.7", target="c"))


def by_neurons(folder: Path, wide: int, pieces: int, *, calibrated: bool = False) -> Build:
    """A network of 12 inputs whose box is cut in pieces by neurons. `calibrated`: on some inputs alone, so
    that its outputs can be twice what they were there, and stop at the largest integer."""
    folder.mkdir(parents=True, exist_ok=True)
    net, h = Net(1, 12, seed=5), "x"
    for size in ((12, wide), (wide, wide)):
        h = net.put("Relu", net.put("Gemm", h, net.normal(*size)))
    model = net.save(folder, net.put("Gemm", h, net.normal(wide, 2)))
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (200, 12)).astype(np.float32)
    np.savez(folder / "c.npz", x=x)
    calibration = folder / "c.npz" if calibrated else None
    options = Options(domain="-0.3,0.3", calibration=calibration, target="c")
    build = compile_model(model, folder / "build", options)
    with pytest.MonkeyPatch.context() as patch:  # of so few inputs the corners tell more than pieces
        patch.setattr(certificate, "narrowed", lambda *_: {})
        patch.setattr(certificate.Behind, "narrowed", lambda *_: None)
        build.certify(build.domain, effort=Effort(pieces))
    return build


def random_build(seed: int, folder: Path, requant: str = "onnx", activations: int = 8) -> Build:
    """A random network compiled over a random box, certified."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    low, wide = rng.uniform(-1, 0.5), float(rng.choice([0.02, 0.3, 1.5]))
    codes = ("pool64",) if seed % 8 == 6 else ("int8", "pot4")[seed % 2 : seed % 2 + 1]
    options = Options(
        domain=f"{low:.6f},{low + wide:.6f}",
        target="c",
        weights=codes,
        scales="pow2" if seed % 3 == 0 else "any",
        requant=requant,
        activations=activations,
    )
    return compile_model(random_net(seed, folder), folder / "build", options)
