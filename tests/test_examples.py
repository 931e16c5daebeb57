# SPDX-License-Identifier: Apache-2.0
"""The bundled models are as good as they should be, and the scripts make the same ones again."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

# The least accuracy on the held-out images; root mean square and largest error of the control (N m; N).
CLASSIFIERS = {"digits_cnn": 0.97, "digits_mlp": 0.95, "residual_cnn": 0.95}
CONTROLLERS = {"controller2": (0.002, 0.005), "controller4": (0.02, 0.15)}
QDQ = {"digits_cnn_qdq": "digits_cnn", "digits_cnn_qdq_u8": "digits_cnn", "digits_mlp_qdq": "digits_mlp",
       "residual_cnn_qdq": "residual_cnn"}  # fmt: skip
ALL = [*CLASSIFIERS, *CONTROLLERS, *QDQ, "digits_cnn_softmax"]


def run(path, x):
    """The outputs of every input, with each of ONNX Runtime's rewrites off: they change integers."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])


def test_set(examples, name):
    with np.load(examples / f"{name}_test.npz") as data:
        return data["x"], data["y"]


test_set.__test__ = False


def accuracy(examples, name, data):
    x, labels = test_set(examples, data)
    return np.mean(run(examples / f"{name}.onnx", x).argmax(axis=1) == labels)


@pytest.mark.parametrize("name", ALL)
def test_file_is_valid(examples, name):
    model = onnx.load(examples / f"{name}.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_accuracy(examples, name):
    found = accuracy(examples, name, name)
    print(f"{name}: {found:.2%}")
    assert found >= CLASSIFIERS[name]


@pytest.mark.parametrize("name", QDQ)
def test_quantised_accuracy(examples, name):
    whole, found = accuracy(examples, QDQ[name], QDQ[name]), accuracy(examples, name, QDQ[name])
    print(f"{name}: {found:.2%}, float {whole:.2%}")
    assert abs(whole - found) <= 0.015


@pytest.mark.parametrize("name", CONTROLLERS)
def test_control_law_is_imitated(examples, name):
    x, u = test_set(examples, name)
    error = run(examples / f"{name}.onnx", x) - u
    rms, largest = np.sqrt(np.mean(error**2)), np.abs(error).max()
    print(f"{name}: {rms:.4f} root mean square, {largest:.4f} largest")
    assert rms <= CONTROLLERS[name][0]
    assert largest <= CONTROLLERS[name][1]


@pytest.mark.parametrize("name", CONTROLLERS)
def test_data_lies_in_the_box(examples, name):
    box = json.loads((examples / f"{name}_box.json").read_text())
    with np.load(examples / f"{name}_calibration.npz") as data:
        assert list(data) == ["x"]
        for x in (data["x"], test_set(examples, name)[0]):
            assert np.all(box["lower"] <= x)
            assert np.all(x <= box["upper"])


def test_softmax_variant_is_the_same_network(examples):
    x, _ = test_set(examples, "digits_cnn")
    logits = run(examples / "digits_cnn.onnx", x[:20]).astype(float)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run(examples / "digits_cnn_softmax.onnx", x[:20]), p, atol=1e-6)


def test_files_are_small(examples):
    assert sum(p.stat().st_size for p in examples.iterdir() if p.is_file()) < 600_000


@pytest.mark.parametrize(
    "name",
    [
        "controller2", "controller4", "digits_mlp",
        pytest.param("digits_cnn", marks=pytest.mark.slow),
        pytest.param("residual_cnn", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_remade_models_are_the_same(examples, tmp_path, name):
    make = [sys.executable, examples / "make_models.py", "--to", tmp_path, name]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # other tests run beside this one
    subprocess.run(make, check=True, capture_output=True, env=one_thread)
    assert {p.name for p in tmp_path.glob("*.onnx")} >= {f"{name}.onnx"}
    for made in tmp_path.iterdir():
        kept = examples / made.name
        if made.suffix == ".npz":  # the contents: compressed bytes depend on the version of zlib
            with np.load(made) as a, np.load(kept) as b:
                assert {k: a[k].tobytes() for k in a} == {k: b[k].tobytes() for k in b}
        else:
            assert made.read_bytes() == kept.read_bytes(), made.name
