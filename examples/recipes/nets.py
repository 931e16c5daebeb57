# SPDX-License-Identifier: Apache-2.0
"""Small networks as lists of nodes, their values and gradients in NumPy, and a trainer.

Images are (N, C, H, W), vectors (N, K), all float64. The functions of OPS take a node and its inputs and
return (y, back): back(g) gives the gradients of the inputs and of the parameters.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


@dataclass
class Node:
    op: str
    inputs: tuple[str, ...]
    output: str
    params: dict = field(default_factory=dict)  # name -> trained array
    options: dict = field(default_factory=dict)  # stride, pad, kernel


def conv(node, x):
    w, b = node.params["w"], node.params.get("b")
    stride, pad, k = node.options.get("stride", 1), node.options.get("pad", 0), w.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    patches = sliding_window_view(padded, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]  # N C H' W' k k
    y = np.tensordot(patches, w, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    if b is not None:
        y = y + b[:, None, None]

    def back(g):
        grads = {"w": np.tensordot(g, patches, axes=((0, 2, 3), (0, 2, 3)))}
        if b is not None:
            grads["b"] = g.sum(axis=(0, 2, 3))
        spread = np.tensordot(g, w, axes=((1,), (0,)))  # N H' W' C k k
        dx = np.zeros_like(padded)
        high, wide = g.shape[2] * stride, g.shape[3] * stride
        for u in range(k):
            for v in range(k):
                part = spread[..., u, v].transpose(0, 3, 1, 2)
                dx[:, :, u : u + high : stride, v : v + wide : stride] += part
        inner = slice(pad, -pad or None)
        return [dx[:, :, inner, inner]], grads

    return y, back


def gemm(node, x):
    w, b = node.params["w"], node.params["b"]  # (outputs, inputs), (outputs,)
    return x @ w.T + b, lambda g: ([g @ w], {"w": g.T @ x, "b": g.sum(axis=0)})


def batch_norm(node, x):
    """Normalises with the statistics of the batch and keeps them for fold() and the exporter."""
    scale, shift = (node.params[n][:, None, None] for n in ("scale", "shift"))
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    spread = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + node.options["epsilon"])
    node.options["mean"], node.options["variance"] = mean.ravel(), x.var(axis=(0, 2, 3))
    unit = (x - mean) / spread

    def back(g):
        grads = {"scale": (g * unit).sum(axis=(0, 2, 3)), "shift": g.sum(axis=(0, 2, 3))}
        g = g * scale
        dx = g - g.mean(axis=(0, 2, 3), keepdims=True) - unit * (g * unit).mean(axis=(0, 2, 3), keepdims=True)
        return [dx / spread], grads

    return unit * scale + shift, back


def relu(_, x):
    return np.maximum(x, 0), lambda g: ([g * (x > 0)], {})


def _windows(x, k):
    n, c, h, w = x.shape
    split = x.reshape(n, c, h // k, k, w // k, k).transpose(0, 1, 2, 4, 3, 5)
    return split.reshape(n, c, h // k, w // k, k * k)


def _from_windows(v, k):
    n, c, h, w, _ = v.shape
    return v.reshape(n, c, h, w, k, k).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h * k, w * k)


def max_pool(node, x):
    k = node.options["kernel"]
    v = _windows(x, k)
    first = v.argmax(axis=-1)[..., None]
    hot = np.arange(k * k) == first
    return np.take_along_axis(v, first, -1)[..., 0], lambda g: ([_from_windows(hot * g[..., None], k)], {})


def average_pool(node, x):
    k = node.options["kernel"]
    spread = np.full(k * k, 1 / (k * k))
    return _windows(x, k).mean(axis=-1), lambda g: ([_from_windows(g[..., None] * spread, k)], {})


def global_average_pool(_, x):
    shape = x.shape
    y = x.mean(axis=(2, 3), keepdims=True)
    return y, lambda g: ([np.broadcast_to(g / (shape[2] * shape[3]), shape)], {})


def flatten(_, x):
    return x.reshape(len(x), -1), lambda g: ([g.reshape(x.shape)], {})


def add(_, a, b):
    return a + b, lambda g: ([g, g], {})


OPS = {
    "Conv": conv, "Gemm": gemm, "BatchNormalization": batch_norm, "Relu": relu, "MaxPool": max_pool,
    "AveragePool": average_pool, "GlobalAveragePool": global_average_pool, "Flatten": flatten, "Add": add,
}  # fmt: skip


def forward(nodes, x):
    """Every value by name ("x" is the input), and the nodes' back functions."""
    values, backs = {"x": x}, []
    for node in nodes:
        values[node.output], back = OPS[node.op](node, *(values[i] for i in node.inputs))
        backs.append(back)
    return values, backs


def gradients(nodes, backs, g):
    """The gradient of each parameter, by (node output, parameter name); g is that of the last value."""
    at, result = {nodes[-1].output: g}, {}
    for node, back in zip(reversed(nodes), reversed(backs), strict=True):
        inputs, params = back(at.pop(node.output))
        for name, value in zip(node.inputs, inputs, strict=True):
            at[name] = at.get(name, 0) + value
        result |= {(node.output, name): value for name, value in params.items()}
    return result


def settle(g, bits=14):
    """g on a grid of 2^-bits of its largest element.

    That rounds away what a machine's own order of summation changes: every machine trains to the same bytes.
    """
    grid = 2.0 ** (np.frexp(np.abs(g).max())[1] - bits)
    return np.round(g / grid) * grid


def train(nodes, batches, loss, *, rate, decay, steps):
    """Adam with decoupled weight decay and a cosine rate. batches yields (x, target); loss gives dL/dy."""
    first, second = {}, {}
    by_output = {n.output: n for n in nodes}
    for step, (x, target) in zip(range(1, steps + 1), batches, strict=False):
        values, backs = forward(nodes, x)
        now = rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / steps))
        for key, raw in gradients(nodes, backs, loss(values[nodes[-1].output], target)).items():
            g = settle(raw)
            first[key] = 0.9 * first.get(key, 0) + 0.1 * g
            second[key] = 0.99 * second.get(key, 0) + 0.01 * g * g
            move = (first[key] / (1 - 0.9**step)) / (np.sqrt(second[key] / (1 - 0.99**step)) + 1e-8)
            params = by_output[key[0]].params
            shrink = decay * params[key[1]] if key[1] == "w" else 0
            params[key[1]] = params[key[1]] - now * (move + shrink)


def cross_entropy(y, labels):
    """The gradient at the logits y of the mean softmax cross-entropy with 5 % label smoothing."""
    p = np.exp(y - y.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return (p - (0.95 * np.eye(y.shape[1])[labels] + 0.05 / y.shape[1])) / len(y)


def squared_error(y, target):
    return 2 * (y - target) / len(y)


def finish(nodes, x):
    """Parameters as float32 values, with batch-norm statistics of all of x: what the exporters write."""
    for node in nodes:
        node.params = {k: v.astype(np.float32).astype(np.float64) for k, v in node.params.items()}
    forward(nodes, x)
    for node in nodes:
        if node.op == "BatchNormalization":
            for key in ("mean", "variance"):
                node.options[key] = node.options[key].astype(np.float32).astype(np.float64)


def fold(nodes):
    """The same network with each BatchNormalization inside the Conv before it."""
    result = []
    for node in nodes:
        if node.op != "BatchNormalization":
            result.append(Node(node.op, node.inputs, node.output, dict(node.params), dict(node.options)))
            continue
        before, o, p = result[-1], node.options, node.params
        gain = p["scale"] / np.sqrt(o["variance"] + o["epsilon"])
        w, b = before.params["w"], before.params.get("b", 0)
        before.params = {"w": w * gain[:, None, None, None], "b": (b - o["mean"]) * gain + p["shift"]}
        before.output = node.output
    return result


def he(rng, *shape):
    """Start weights of variance 2 / fan-in."""
    return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
