# SPDX-License-Identifier: Apache-2.0
"""Mutations of both networks, hashes written again, and of the generated sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from forger import Change, Forged, Mutation
from onnx import numpy_helper


def at(place: str, index: int, path: list[Any], value: Any) -> Change:
    def change(f: Forged) -> None:
        target: Any = f.network[place][index]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def of_network(start: Forged) -> Iterator[Mutation]:
    """network.json; hashes are written again."""

    yield from _values(start)
    yield from _nodes(start)
    for key, value in (
        ("format", "tinybound-network-2"),
        ("outputs", []),
        ("inputs", []),
        ("values", []),
        ("nodes", []),
    ):
        yield "network emptied", key, lambda f, k=key, v=value: f.network.update({k: v}), True
    first = start.network["nodes"][1]["output"]
    yield "another output", first, lambda f: f.network.update(outputs=[first]), True


def _values(start: Forged) -> Iterator[Mutation]:
    for i, value in enumerate(start.network["values"]):
        name = value["name"]
        for k in sorted({0, len(value["scale"]) - 1}):
            scale = Fraction(value["scale"][k])
            for factor in (2, Fraction(1001, 1000), Fraction(1, 2), -1, 0):
                new = scale * factor
                change = at("values", i, ["scale", k], f"{new.numerator}/{new.denominator}")
                yield "scale changed", f"{name} x {factor}", change, True
        yield "scales added", name, at("values", i, ["scale"], value["scale"] * 2), True
        for new in (value["zero"] + 1, value["zero"] - 1, 1000):
            yield "zero changed", name, at("values", i, ["zero"], new), True
        low, high = value["range"]
        for new in ([low + 1, high], [low, high - 1], [low - 1, high], [low, high + 1], [high, low - 1]):
            yield "value range changed", f"{name} {new}", at("values", i, ["range"], new), True
        yield (
            "shape changed",
            name,
            at("values", i, ["shape"], [*value["shape"][:-1], value["shape"][-1] + 1]),
            True,
        )
        yield "value renamed", name, at("values", i, ["name"], name + "x"), True


def _nodes(start: Forged) -> Iterator[Mutation]:
    for i, node in enumerate(start.network["nodes"]):
        name = node["name"]
        for key, value in node["fields"].items():
            news = (
                [not value]
                if isinstance(value, bool)
                else [value + 1, value - 1, 0, 127, 1000]
                if isinstance(value, int)
                else []
            )
            news += (
                [*{"half-even", "tflite-single", "tflite-double", "half-up", ""} - {value}]
                if isinstance(value, str)
                else []
            )
            news += (
                [[*value[:j], v + 1, *value[j + 1 :]] for j, v in enumerate(value)]
                if isinstance(value, list)
                else []
            )
            for new in news:
                if new != value:
                    yield (
                        f"{node['op']}.{key} changed",
                        f"{name} {new}",
                        at("nodes", i, ["fields", key], new),
                        True,
                    )
        yield (
            "op changed",
            name,
            at("nodes", i, ["op"], "Reshape" if node["op"] != "Reshape" else "Dense"),
            True,
        )
        yield "origin changed", name, at("nodes", i, ["origin"], node["origin"] + "x"), True
        yield "node renamed", name, at("nodes", i, ["name"], name + "x"), True
        yield "output of a node changed", name, at("nodes", i, ["output"], node["output"] + "x"), True
        other = [start.network["inputs"][0]] * (1 + (i == 0))
        if other != node["inputs"]:
            yield "input of a node changed", name, at("nodes", i, ["inputs"], other), True
        yield "arrays changed", name, at("nodes", i, ["arrays"], node["arrays"][:-1] or ["weights"]), True
        for code in ("int8", "int4", "pot4", "pool64", "nothing"):
            if code != node["code"]:
                yield f"code to {code}", name, at("nodes", i, ["code"], code), True

        def dropped(f: Forged, i: int = i) -> None:
            del f.network["nodes"][i]

        def swapped(f: Forged, i: int = i) -> None:
            nodes = f.network["nodes"]
            nodes[i - 1], nodes[i] = nodes[i], nodes[i - 1]

        yield "node dropped", name, dropped, True
        if i:
            yield "nodes swapped", name, swapped, True


def of_arrays(start: Forged, rng: np.random.Generator) -> Iterator[Mutation]:
    """network.npz; hashes are written again."""

    def add(key: str, i: Any, delta: Any) -> Change:
        def change(f: Forged) -> None:
            new = f.arrays[key].astype(np.int64)
            new.reshape(-1)[i] += delta
            f.arrays[key] = new

        return change

    sizes = {"weights": 40, "bias": 3000, "entries": 60, "table": 2, "knots": 9000, "bends": 9000}
    for key, array in start.arrays.items():
        kind = key.rsplit(".", 1)[1]
        large = sizes.get(kind, 1)
        for i in rng.choice(array.size, min(array.size, 8), replace=False).tolist():
            for delta in (large, -large, 1 << 33):
                yield f"{kind} changed", f"{key}[{i}] {delta:+}", add(key, i, delta), True
            if kind in ("weights", "bias"):
                for delta in (1, -1):
                    yield f"{kind} changed by 1", f"{key}[{i}] {delta:+}", add(key, i, delta), True
        if array.size:
            yield f"all {kind} changed", key, add(key, slice(None), large), True
        yield "array dropped", key, lambda f, k=key: f.arrays.pop(k), True
        yield (
            "array of another shape",
            key,
            lambda f, k=key, n=array.size: f.arrays.update(  # an empty one has nothing to lose
                {k: f.arrays[k].ravel()[:-1] if n else np.zeros(1, np.int64)}
            ),
            True,
        )
        yield "array of floats", key, lambda f, k=key: f.arrays.update({k: f.arrays[k].astype(float)}), True
    yield "array added", "", lambda f: f.arrays.update(extra=np.zeros(1, np.int64)), True


def of_model(start: Forged, rng: np.random.Generator) -> Iterator[Mutation]:
    """float.onnx; hashes are written again."""

    def tensor(index: int, edit: Callable[[Any], Any]) -> Change:
        def change(f: Forged) -> None:
            old = f.model.graph.initializer[index]
            new = numpy_helper.from_array(edit(np.array(numpy_helper.to_array(old))), old.name)
            old.CopyFrom(new)

        return change

    def element(i: int, factor: float, shift: float) -> Callable[[Any], Any]:
        def edit(a: Any) -> Any:
            a.reshape(-1)[i] = a.reshape(-1)[i] * factor + shift
            return a

        return edit

    for index, init in enumerate(start.model.graph.initializer):
        array = numpy_helper.to_array(init)
        if array.dtype.kind != "f" or not array.size:
            continue
        for i in rng.choice(array.size, min(array.size, 6), replace=False).tolist():
            yield "float parameter moved", f"{init.name}[{i}]", tensor(index, element(i, 1.0, 0.6)), True
            yield (
                "float parameter not finite",
                f"{init.name}[{i}]",
                tensor(index, element(i, np.nan, 0)),
                True,
            )
            yield (
                "float parameter moved a little",
                f"{init.name}[{i}]",
                tensor(index, element(i, 1 + 2e-2, 0)),
                True,
            )
        yield "float parameters negated", init.name, tensor(index, lambda a: -a), True
        if array.ndim > 1:
            yield "float parameters of another shape", init.name, tensor(index, lambda a: a.ravel()), True
    yield from _model_nodes(start)
    yield "float opset", "", lambda f: setattr(f.model.opset_import[0], "version", 99), True
    yield "float function", "", lambda f: f.model.functions.add(name="Relu", domain=""), True
    yield "float output dropped", "", lambda f: f.model.graph.output.pop(), True


def _model_nodes(start: Forged) -> Iterator[Mutation]:
    for index, node in enumerate(start.model.graph.node):
        yield "float node dropped", node.name, lambda f, k=index: f.model.graph.node.pop(k), True

        def op(f: Forged, k: int = index) -> None:
            node = f.model.graph.node[k]
            node.op_type = {"Relu": "Identity", "MaxPool": "AveragePool", "AveragePool": "MaxPool"}.get(
                node.op_type, "Tanh"
            )

        yield "float op changed", node.name, op, True

        def domain(f: Forged, k: int = index) -> None:
            f.model.graph.node[k].domain = "ai.somebody"

        yield "float op of another domain", node.name, domain, True
        for a, attribute in enumerate(node.attribute):
            if attribute.name == "kernel_shape" and node.op_type == "Conv":
                continue

            def edit(f: Forged, k: int = index, a: int = a) -> None:
                found = f.model.graph.node[k].attribute[a]
                found.i += 1
                found.f += 1.0
                found.ints[:] = [v + 1 for v in found.ints]

            if attribute.name not in ("axis", "momentum"):
                yield "float attribute changed", f"{node.name} {attribute.name}", edit, True


def of_sources(start: Forged, rng: np.random.Generator) -> Iterator[Mutation]:
    """c/ and verilog/; with the old hashes, and the error macro with new ones."""

    def flip(name: str, i: int) -> Change:
        def change(f: Forged) -> None:
            data = bytearray(f.sources[name])
            data[i] ^= 1
            f.sources[name] = bytes(data)

        return change

    for name, data in start.sources.items():
        if data:
            yield "source changed", name, flip(name, int(rng.integers(len(data)))), False
        yield "source dropped", name, lambda f, n=name: f.sources.pop(n), False
        yield "source renamed", name, lambda f, n=name: f.sources.update({n + "x": f.sources.pop(n)}), False
        if b"_CERTIFIED_ERROR_E9 " in data:
            for old, new in ((b"_E9 1", b"_E9 0"), (b"_E9 ", b"_E9 0x"), (b"_E9 ", b"_E9 1")):
                if old in data:

                    def macro(f: Forged, n: str = name, old: bytes = old, new: bytes = new) -> None:
                        lines = f.sources[n].split(b"\n")
                        k = next(
                            i
                            for i, line in enumerate(lines)
                            if b"define" in line and b"_CERTIFIED_ERROR_E9 " in line
                        )
                        lines[k] = lines[k].replace(old, new)
                        f.sources[n] = b"\n".join(lines)

                    yield "error macro changed", f"{name} {new!r}", macro, True
    for folder in {name.split("/")[0] for name in start.sources}:
        yield (
            "source added",
            folder,
            lambda f, k=folder: f.sources.update({f"{k}/more.h": b"int x;\n"}),
            False,
        )

        def emptied(f: Forged, folder: str = folder) -> None:
            f.sources = {n: data for n, data in f.sources.items() if not n.startswith(folder)}

        yield "sources dropped", folder, emptied, False
    for name in start.raw:
        yield "file changed", name, lambda f, n=name: _touch(f, n), False


def _touch(f: Forged, name: str) -> None:
    if name == "network.json":
        f.network["name"] += "x"
    elif name == "network.npz":
        key = next(iter(f.arrays))
        f.arrays[key] = f.arrays[key] + 1
    else:
        f.model.producer_name += "x"
