# SPDX-License-Identifier: Apache-2.0
"""State-feedback networks that imitate a saturated linear-quadratic regulator on a box of states."""

import json

import numpy as np

from recipes.files import write_float
from recipes.nets import Node, finish, forward, he, squared_error, train

# An inverted pendulum: 0.3 kg on a rod of 0.5 m.
# State: angle from upright (rad), angular velocity (rad/s). Control: torque (N m).
GRAVITY, LENGTH, MASS = 9.81, 0.5, 0.3
PENDULUM = {
    "a": [[0, 1], [GRAVITY / LENGTH, 0]], "b": [[0], [1 / (MASS * LENGTH**2)]],
    "q": [1, 0.1], "r": [1], "limit": 1.0, "upper": [0.5, 1.0],
}  # fmt: skip
# Two carts of 1 kg, joined by a spring of 1 N/m.
# State: both positions (m), both velocities (m/s). Control: a force on each (N).
CARTS = {
    "a": [[0, 0, 1, 0], [0, 0, 0, 1], [-1, 1, 0, 0], [1, -1, 0, 0]], "b": [[0, 0], [0, 0], [1, 0], [0, 1]],
    "q": [1, 1, 1, 1], "r": [1, 1], "limit": 1.5, "upper": [1, 1, 1, 1],
}  # fmt: skip


def regulator(plant, step=0.01):
    """The gain K of u = -K x that minimises the sum of x'Qx + u'Ru; the plant is sampled every `step` s."""
    a, b = np.array(plant["a"], float), np.array(plant["b"], float)
    a, b = np.eye(len(a)) + step * a, step * b
    q, r = np.diag(plant["q"]) * step, np.diag(plant["r"]) * step
    p = q
    for _ in range(5000):  # the Riccati recursion, long past convergence
        k = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        p = q + a.T @ p @ (a - b @ k)
    return k


def law(plant, x):
    """The control that is imitated: x (N, states) -> u (N, inputs)."""
    return np.clip(-x @ regulator(plant).T, -plant["limit"], plant["limit"])


def states(plant, rng, count):
    upper = np.array(plant["upper"], float)
    return rng.uniform(-upper, upper, (count, len(upper)))


def mlp(rng, inputs, hidden, outputs):
    sizes = [inputs, hidden, hidden, outputs]
    nodes, source = [], "x"
    for i in range(3):
        w = he(rng, sizes[i + 1], sizes[i])
        nodes.append(Node("Gemm", (source,), f"dense{i + 1}", {"w": w, "b": np.zeros(sizes[i + 1])}))
        source = f"relu{i + 1}"
        if i < 2:
            nodes.append(Node("Relu", (f"dense{i + 1}",), source))
    return nodes


def make(folder, name, plant, *, seed, steps, decay, **form):
    rng = np.random.default_rng(seed)
    nodes = mlp(rng, len(plant["upper"]), 16, len(plant["r"]))
    gain = regulator(plant)

    def batches():
        while True:
            x = states(plant, rng, 256)
            yield x, np.clip(-x @ gain.T, -plant["limit"], plant["limit"])

    train(nodes, batches(), squared_error, rate=0.01, decay=decay, steps=steps)
    test_x = states(plant, rng, 2000).astype(np.float32)
    finish(nodes, test_x)
    write_float(folder / f"{name}.onnx", nodes, (len(plant["upper"]),), **form)
    np.savez_compressed(folder / f"{name}_calibration.npz", x=states(plant, rng, 500).astype(np.float32))
    test_y = law(plant, test_x.astype(float))
    np.savez_compressed(folder / f"{name}_test.npz", x=test_x, y=test_y.astype(np.float32))
    box = {"lower": [-v for v in plant["upper"]], "upper": plant["upper"]}
    (folder / f"{name}_box.json").write_text(json.dumps(box) + "\n")
    error = forward(nodes, test_x.astype(float))[0]["dense3"] - test_y
    rms = np.sqrt(np.mean(error**2))
    print(f"{name}: {rms:.4f} root mean square, {np.abs(error).max():.4f} largest difference")


def make_controller2(folder):
    make(folder, "controller2", PENDULUM, seed=4, steps=4000, decay=0.3, batch="N")


def make_controller4(folder):
    make(folder, "controller4", CARTS, seed=5, steps=6000, decay=0.4, matmul=True)
