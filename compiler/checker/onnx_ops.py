# SPDX-License-Identifier: Apache-2.0
"""One ONNX node -> one layer of the float network. Parameters stay exact: what a file's floats are."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import need
from .layers import Layer, Shape
from .single import BATCH_NORM

Array = NDArray[Any]
_ALLOWED = {
    "Conv": {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"},
    "MaxPool": {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"},
    "AveragePool": {
        "auto_pad",
        "ceil_mode",
        "count_include_pad",
        "dilations",
        "kernel_shape",
        "pads",
        "strides",
    },
    "GlobalAveragePool": set(),
    "Gemm": {"alpha", "beta", "transA", "transB"},
    "MatMul": set(),
    "Add": set(),
    "Sub": set(),
    "Mul": set(),
    "Div": set(),
    "BatchNormalization": {"epsilon", "momentum", "spatial", "training_mode"},
    "Relu": set(),
    "Clip": {"min", "max"},
    "HardSigmoid": {"alpha", "beta"},
    "Sigmoid": set(),
    "Tanh": set(),
    "LeakyRelu": {"alpha"},
    "Elu": {"alpha"},
    "Erf": set(),
    "Softplus": set(),
    "HardSwish": set(),
    "Gelu": {"approximate"},
    "Flatten": {"axis"},
    "Reshape": {"allowzero"},
    "Transpose": {"perm"},
    "Concat": {"axis"},
    "tinybound.Softmax": set(),
    "tinybound.Sign": set(),
    "tinybound.Trunc": set(),
    "tinybound.ArgMax": {"select_last_index"},
    "tinybound.MatMul": {"group"},
    "tinybound.Take": set(),
    "tinybound.Total": set(),
}


@dataclass
class Node:
    """An ONNX node: constants and shapes (None for the other kind) per input."""

    name: str
    op: str
    attributes: dict[str, Any]
    constants: list[Array | None]
    shapes: list[Shape | None]
    opset: int

    def get(self, key: str, default: Any) -> Any:
        """An attribute or its default."""
        return self.attributes.get(key, default)

    def constant(self, i: int) -> Array | None:
        """Constant input i as exact float64, finite; None where it is not given."""
        found = self.constants[i] if i < len(self.constants) else None
        if found is None:
            given = i < len(self.shapes) and self.shapes[i] is not None
            need(not given, f"{self.name}: input {i} is not constant")
            return None
        need(found.dtype.kind == "f" and found.dtype.itemsize <= 8, f"{self.name}: {found.dtype} parameters")
        array = found.astype(np.float64)
        need(np.isfinite(array).all() or self.op == "Clip", f"{self.name}: NaN or infinite parameters")
        return array


def parse(node: Node) -> Layer:
    """The layer; Rejected when this is not a node that tinybound compiles."""
    need(node.op in _ALLOWED, f"{node.name}: op {node.op}")
    odd = set(node.attributes) - _ALLOWED[node.op]
    need(not odd, f"{node.name}: attribute {sorted(odd)[:1]}")
    numbers = [value for value in node.attributes.values() if isinstance(value, float)]
    need(np.isfinite(numbers).all() or node.op == "Clip", f"{node.name}: NaN or infinite attributes")
    first = node.shapes[0]
    if node.op in ("Add", "Sub", "Mul", "Div"):
        return _elementwise(node)
    need(first is not None, f"{node.name}: a constant as first input")
    assert first is not None
    kind, fields = _fields(node, first)
    return Layer(node.name, kind, (), "", fields)


def _fields(node: Node, first: Shape) -> tuple[str, dict[str, Any]]:
    get, where = node.get, node.name
    match node.op:
        case "Relu":
            return "Clip", {"lo": 0.0, "hi": np.inf}
        case "Clip":
            ends = [get("min", -np.inf), get("max", np.inf)]
            for i in (1, 2):
                given = node.constant(i)
                ends[i - 1] = ends[i - 1] if given is None else float(given.ravel()[0])
                need(given is None or given.size == 1, f"{where}: limits")
            need(ends[0] <= ends[1] and ends[0] < np.inf and ends[1] > -np.inf, f"{where}: limits {ends}")
            return "Clip", {"lo": float(ends[0]), "hi": float(ends[1])}
        case "Conv":
            w, b = node.constant(1), node.constant(2)
            need(w is not None and w.ndim == 4, f"{where}: no constant 2-D weights")
            assert w is not None
            need(tuple(get("kernel_shape", w.shape[2:])) == w.shape[2:], f"{where}: kernel_shape")
            b = np.zeros(len(w)) if b is None else b
            more = _window(node, first, w.shape[2:])
            return "Conv", {
                "weights": w,
                "bias": b,
                "groups": int(get("group", 1)),
                **more,
            }
        case "Gemm" | "MatMul":
            w, b = node.constant(1), node.constant(2)
            need(w is not None and w.ndim == 2 and len(first) == 1, f"{where}: no constant matrix")
            assert w is not None
            need(get("transA", 0) == 0 and get("transB", 0) in (0, 1), f"{where}: transA or transB")
            w = (w if get("transB", 0) else w.T) * float(get("alpha", 1.0))
            b = np.zeros(1) if b is None else b.ravel() * float(get("beta", 1.0))
            need(b.size in (1, len(w)), f"{where}: bias of size {b.size}")
            b = np.broadcast_to(b, len(w)).copy()
            return "Dense", {"weights": np.ascontiguousarray(w), "bias": b}
        case "MaxPool" | "AveragePool":
            need(not get("ceil_mode", 0), f"{where}: ceil_mode")  # storage_order speaks of indices only
            more = _window(node, first, tuple(get("kernel_shape", ())))
            if node.op == "MaxPool":
                return "MaxPool", {"kernel": tuple(get("kernel_shape", ())), **more}
            need(
                not any(more["pads"]) or get("count_include_pad", 0), f"{where}: padding that is not counted"
            )
            return "AveragePool", {"kernel": tuple(get("kernel_shape", ())), **more}
        case "GlobalAveragePool" | "tinybound.Total":
            need(len(first) == 3, f"{where}: input of shape {first}")
            return "AveragePool", {
                "kernel": first[1:],
                "strides": (1, 1),
                "dilations": (1, 1),
                "pads": (0, 0, 0, 0),
                "size": first,
                "total": node.op != "GlobalAveragePool",
            }
        case _:
            return _moves(node, first)


def _moves(node: Node, first: Shape) -> tuple[str, dict[str, Any]]:
    """Ops without a window or weights."""
    get, where = node.get, node.name
    match node.op:
        case "Concat":
            axis, rank = int(get("axis", 0)), len(first) + 1
            need(-rank <= axis < rank and axis % rank > 0, f"{where}: axis {axis}")
            need(all(c is None for c in node.constants), f"{where}: a constant")
            return "Concat", {"axis": axis % rank - 1}
        case "HardSigmoid":
            return "HardSigmoid", {"alpha": float(get("alpha", 0.2)), "beta": float(get("beta", 0.5))}
        case "LeakyRelu":
            return "LeakyRelu", {"alpha": float(get("alpha", 0.01))}
        case "Elu":
            return "Elu", {"alpha": float(get("alpha", 1.0))}
        case "Gelu":
            need(get("approximate", "none") in ("none", "tanh"), f"{where}: approximate")
            return "Gelu", {"approximate": get("approximate", "none")}
        case "Sigmoid" | "Tanh" | "HardSwish" | "Erf" | "Softplus":
            return node.op, {}
        case "BatchNormalization":
            return "ChannelAffine", _batch_norm(node)
        case "Flatten":
            need(get("axis", 1) in (1, -len(first)), f"{where}: axis")
            return "Reshape", {"target": (prod(first),)}
        case "Reshape":
            return "Reshape", {"target": _target(node, first)}
        case "Transpose":
            perm = tuple(get("perm", tuple(reversed(range(len(first) + 1)))))
            need(sorted(perm) == list(range(len(first) + 1)) and perm[0] == 0, f"{where}: perm {perm}")
            return "Transpose", {"size": first, "perm": tuple(axis - 1 for axis in perm[1:])}
        case _:
            return _own(node)


def _own(node: Node) -> tuple[str, dict[str, Any]]:
    """Ops that only expansions write."""
    get, where = node.get, node.name
    match node.op:
        case "tinybound.Take":
            at = node.constants[1]
            need(at is not None, f"{where}: no positions")
            pad = node.constants[2] if len(node.constants) > 2 else None
            return "Take", {"positions": at, "pad": 0.0 if pad is None else float(pad)}
        case "tinybound.MatMul":
            groups, (a, b) = int(get("group", 1)), node.shapes
            need(a is not None and b is not None and len(a) == len(b) == 2, f"{where}: factors")
            assert a is not None and b is not None
            need(a[1] == b[1] and a[0] % groups == b[0] % groups == 0, f"{where}: factors {a} and {b}")
            extents = (groups, a[0] // groups, b[0] // groups, a[1])
            return "MatMul", {"extents": extents, "factor": 1.0}
        case "tinybound.Trunc":
            factor, offset = node.constant(1), node.constant(2)
            need(factor is not None and offset is not None, f"{where}: parameters")
            return "Trunc", {"factor": float(factor), "offset": float(offset)}  # type: ignore[arg-type]
        case "tinybound.Sign":
            scale = node.constant(1)
            need(scale is not None, f"{where}: no scale")
            return "Sign", {"scale": float(scale)}  # type: ignore[arg-type]
        case "tinybound.ArgMax":
            return "ArgMax", {"last": int(bool(get("select_last_index", 0)))}
        case _:
            return "Softmax", {}


def _window(node: Node, first: Shape, kernel: Shape) -> dict[str, Any]:
    need(len(first) == 3 and len(kernel) == 2, f"{node.name}: a window on shape {first}")
    strides, dilations = tuple(node.get("strides", (1, 1))), tuple(node.get("dilations", (1, 1)))
    pads, mode = tuple(node.get("pads", (0, 0, 0, 0))), node.get("auto_pad", "NOTSET")
    sizes_fit = (
        len(strides) == len(dilations) == 2 and len(pads) == 4 and min(*kernel, *strides, *dilations) > 0
    )
    need(sizes_fit and mode in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"{node.name}: window")
    if mode.startswith("SAME"):
        need(node.op == "Conv" or dilations == (1, 1), f"{node.name}: {mode} with dilations")
        pads = same_pads(first[1:], kernel, strides, dilations, upper=mode == "SAME_UPPER")
    elif mode == "VALID":
        pads = (0, 0, 0, 0)
    return {"size": first, "strides": strides, "dilations": dilations, "pads": pads}


def same_pads(size: Shape, kernel: Shape, strides: Shape, dilations: Shape, *, upper: bool) -> Shape:
    """auto_pad: output = ceil(input / stride); the odd pad at the end (SAME_UPPER) or at the beginning."""
    begin, end = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        rest = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        begin.append(rest // 2 if upper else rest - rest // 2)
        end.append(rest - begin[-1])
    return (*begin, *end)


def _target(node: Node, first: Shape) -> Shape:
    given = node.constants[1] if len(node.constants) > 1 else None
    need(given is not None and given.dtype.kind == "i", f"{node.name}: a shape that is not constant")
    assert given is not None
    sizes, full = [int(n) for n in given.ravel()], (1, *first)
    need(not (node.get("allowzero", 0) and 0 in sizes), f"{node.name}: allowzero")
    sizes = [full[i] if n == 0 and i < len(full) else n for i, n in enumerate(sizes)]
    need(len(sizes) > 1 and sizes[0] in (1, -1), f"{node.name}: shape {sizes}")
    rest = sizes[1:]
    if -1 in rest:
        need(sizes[0] == 1 and rest.count(-1) == 1, f"{node.name}: shape {sizes}")
        others = prod(n for n in rest if n != -1)
        need(others > 0 and prod(first) % others == 0, f"{node.name}: shape {sizes}")
        rest[rest.index(-1)] = prod(first) // others
    return tuple(rest)


def exact(array: Array) -> list[Fraction]:
    """The rationals that floats are."""
    return [Fraction(v) for v in array.ravel().tolist()]


def _root(value: Fraction) -> Fraction:
    """Square root, 2^-300 off at most (absolute)."""
    return Fraction(isqrt((value.numerator << 600) // value.denominator), 1 << 300)


def _batch_norm(node: Node) -> dict[str, Any]:
    need(not node.get("training_mode", 0) and node.get("spatial", 1) == 1, f"{node.name}: training mode")
    parts = [node.constant(i) for i in range(1, 5)]
    need(all(p is not None and p.ndim == 1 for p in parts), f"{node.name}: parameters")
    gamma, beta, mean, variance = (exact(p) for p in parts if p is not None)
    epsilon = Fraction(float(np.float32(node.get("epsilon", 1e-5))))
    need(len(gamma) == len(beta) == len(mean) == len(variance) > 0, f"{node.name}: parameters")
    need(min(variance) + epsilon > Fraction(1, 1 << 60), f"{node.name}: a variance that is not positive")
    factor = [g / _root(v + epsilon) for g, v in zip(gamma, variance, strict=True)]
    parts_of = [(b, m * f) for b, m, f in zip(beta, mean, factor, strict=True)]
    size = [abs(b) + abs(m) for b, m in parts_of]
    offset = [b - m for b, m in parts_of]
    return {"factor": factor, "offset": offset, "size": size, "extra": BATCH_NORM}


def _elementwise(node: Node) -> Layer:
    """Sum, difference or product of two tensors, or a constant per channel beside a tensor."""
    held = [i for i in (0, 1) if node.constants[i] is not None]
    need(len(node.constants) == 2 and len(held) < 2, f"{node.name}: inputs")
    if not held:
        same = node.op != "Div" and node.shapes[0] == node.shapes[1]
        need(same, f"{node.name}: {node.op} of {node.shapes}")
        fields = {} if node.op == "Mul" else {"sign": -1 if node.op == "Sub" else 1}
        return Layer(node.name, "Mul" if node.op == "Mul" else "Add", (), "", fields)
    shape, c = node.shapes[1 - held[0]], node.constant(held[0])
    assert shape is not None
    assert c is not None
    sizes = (1,) * (len(shape) + 1 - c.ndim) + c.shape
    per_channel = len(sizes) == len(shape) + 1 and all(n == 1 for i, n in enumerate(sizes) if i != 1)
    need(per_channel and sizes[1] in (1, shape[0]), f"{node.name}: a constant of shape {c.shape}")
    values = exact(np.broadcast_to(c.ravel(), shape[0]))
    factor, offset = [Fraction(1)] * len(values), [Fraction(0)] * len(values)
    if node.op == "Mul":
        factor = values
    elif node.op == "Div":
        need(held == [1] and 0 not in values, f"{node.name}: divisor")
        factor = [1 / v for v in values]
    elif node.op == "Sub" and held == [1]:
        offset = [-v for v in values]
    else:
        factor, offset = [-f for f in factor] if node.op == "Sub" else factor, values
    line = {"factor": factor, "offset": offset, "size": [abs(o) for o in offset]}
    return Layer(node.name, "ChannelAffine", (), "", {**line, "extra": 1})
