# SPDX-License-Identifier: Apache-2.0
"""Mutations of certificate.json, the hashes kept."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from forger import Change, Forged, Mutation


def put(path: list[Any], value: Any) -> Change:
    """Set one place of the certificate."""

    def change(f: Forged) -> None:
        place: Any = f.document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def drop(path: list[Any]) -> Change:
    def change(f: Forged) -> None:
        place: Any = f.document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def places(value: Any, path: list[Any]) -> Iterator[tuple[list[Any], Any]]:
    """Every leaf of a JSON value, and every container."""
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, [*path, key])


ODD = (None, True, "1", [], {}, float("nan"), float("inf"), -1, 1e400, 0)


def of_document(start: Forged, rng: np.random.Generator) -> Iterator[Mutation]:
    """Every field."""
    doc = start.document
    for key, out in doc["outputs"].items():
        yield from _numbers(key, out)
        yield from _output(start, key, out)
        yield from _witness(doc, key, out, rng)
    for name, ends in doc["domain"].items():
        yield from _domain(name, ends, rng)
    yield from _tree(doc)
    yield from _leaves(doc)
    yield from _layers(doc)
    yield from _rest(doc)


def _numbers(key: str, out: dict[str, Any]) -> Iterator[Mutation]:
    where = ["outputs", key]
    for field in ("bound", "attack"):
        for i, v in enumerate(out[field]):
            at = [*where, field, i]
            worst = v == max(out[field])
            if field == "bound":
                yield from (
                    ("bound lowered", f"{at} x {f}", put(at, v * f), False) for f in (0.99, 0.5, 1 - 1e-7, 0)
                )
                if not worst:
                    yield "bound raised", f"{at}", put(at, v * 1.0001), False
                else:
                    yield "bound raised without bound_e9", f"{at}", put(at, v * 1.01), False
            elif worst:
                yield from (
                    ("attack raised", f"{at} x {f}", put(at, v * f), False) for f in (1.01, 1 + 1e-7, 1e3)
                )
                yield "attack lowered", f"{at}", put(at, v * 0.999), False
            else:
                yield "attack above its bound", f"{at}", put(at, out["bound"][i] * 1.01), False
            yield from (("wrong type", f"{at} = {o!r}", put(at, o), False) for o in ODD[:9])


def _output(start: Forged, key: str, out: dict[str, Any]) -> Iterator[Mutation]:
    where = ["outputs", key]
    for kind, numbers in out["domains"].items():
        for i, v in enumerate(numbers):
            yield (
                "domains lowered",
                f"{key} {kind} {i}",
                put([*where, "domains", kind, i], v * 0.99),
                False,
            )
            yield (
                "domains raised",
                f"{key} {kind} {i}",
                put([*where, "domains", kind, i], v * 1.01),
                False,
            )
    yield "bound_e9 changed", key, put([*where, "bound_e9"], out["bound_e9"] - 1), False
    yield "bound_e9 changed", key, put([*where, "bound_e9"], out["bound_e9"] + 1), False
    yield "another value", key, put([*where, "value"], start.network["nodes"][1]["output"]), False
    yield "output renamed", key, rename(["outputs"], key, key + "x"), False
    yield "output dropped", key, drop(where), False
    yield "a claim on probabilities", key, put([*where, "probability_bound"], 1e-9), False


def _witness(
    doc: dict[str, Any], key: str, out: dict[str, Any], rng: np.random.Generator
) -> Iterator[Mutation]:
    where = ["outputs", key]
    for name, x in out["witness"].items():
        ends = doc["domain"][name]
        for i in rng.choice(len(x), min(len(x), 4), replace=False).tolist():
            at = [*where, "witness", name, i]
            low, high = (float(Fraction(ends[side][i])) for side in ("lower", "upper"))
            yield "witness outside", f"{at}", put(at, high + 1e-6), False
            yield "witness outside", f"{at}", put(at, low - 1e-6), False
        middle = [
            float(Fraction(a) + Fraction(b)) / 2 for a, b in zip(ends["lower"], ends["upper"], strict=True)
        ]
        yield "witness moved", name, put([*where, "witness", name], middle), False
        corner = [float(Fraction(v)) for v in ends["lower"]]
        yield "witness moved", f"{name} to the corner", put([*where, "witness", name], corner), False


def _layers(doc: dict[str, Any]) -> Iterator[Mutation]:
    for i, layer in enumerate(doc["layers"]):
        for key, value in layer.items():
            at = ["layers", i, key]
            if key in ("range", "range_in_domain"):
                for k in (0, 1):
                    yield (
                        f"{key} narrowed",
                        f"{at}",
                        put([*at, k], value[k] + (1, -1)[k] * max(1, abs(value[k]) // 50)),
                        False,
                    )
                    wider = "range widened" if key == "range" else "range_in_domain widened"
                    inside = layer["range"][k] != value[k]
                    if key == "range" or inside:
                        yield wider, f"{at}", put([*at, k], value[k] + (-1, 1)[k]), False
            elif key == "bits":
                yield from (("bits", f"{at}", put(at, value + k), False) for k in (-1, 1))
            elif key == "saturates":
                yield from (
                    ("saturates shortened", f"{at}", put(at, value[:j] + value[j + 1 :]), False)
                    for j in range(min(len(value), 3))
                )
                if 0 not in value:
                    yield "saturates lengthened", f"{at}", put(at, [0, *value]), False
            else:
                yield "layer renamed", f"{at}", put(at, value + "x"), False
        yield "layer dropped", f"{i}", drop(["layers", i]), False


def _rest(doc: dict[str, Any]) -> Iterator[Mutation]:
    for key, value in doc["semantics"].items():
        for new in ("tflite-single", "float32", 4, 8, 2, 1, None):
            if new != value:
                yield "semantics changed", f"{key} = {new!r}", put(["semantics", key], new), False
    for path, value in places({k: v for k, v in doc.items() if k not in ("outputs", "domain", "layers")}, []):
        if path[0] == "seconds":
            yield "seconds changed", "", put(path, value + 1), False
            yield from (("wrong type", f"{path} = {o!r}", put(path, o), False) for o in ODD[:9])
            continue
        if len(path) < 2 or path[0] != "hashes":
            new = [
                o
                for o in ODD[:8]
                if not (path == ["semantics", "bits"] and o is None)
                and o != value
                and not (path[0] == "tree" and o is None)
            ]
            yield from (("wrong type", f"{path} = {o!r}", put(path, o), False) for o in new)
        else:
            yield "hash changed", f"{path}", put(path, ("0" if value[0] != "0" else "1") + value[1:]), False
            yield "hash dropped", f"{path}", drop(path), False
            yield "hash changed", f"{path} upper", put(path, value.upper() + " "), False
        if path[0] != "tree" and path != ["leaves"]:
            yield "field dropped", f"{path}", drop(path), False
    for key in (key for key in doc if key != "leaves"):  # that one may be left out: see _leaves
        yield "field dropped", key, drop([key]), False
    yield "field added", "", put(["note"], "trust me"), False
    yield "mode", "grid", put(["mode"], "grid"), False
    yield "method", "", put(["method"], "interval"), False


def rename(path: list[Any], old: str, new: str) -> Change:
    def change(f: Forged) -> None:
        place: Any = f.document
        for key in path:
            place = place[key]
        place[new] = place.pop(old)

    return change


def _domain(name: str, ends: dict[str, Any], rng: np.random.Generator) -> Iterator[Mutation]:
    n = len(ends["lower"])
    for i in rng.choice(n, min(n, 6), replace=False).tolist():
        low, high = Fraction(ends["lower"][i]), Fraction(ends["upper"][i])
        step = max(high - low, Fraction(1, 8)) / 4
        for side, value, sign in (("lower", low, -1), ("upper", high, 1)):
            new = value + sign * step
            at = ["domain", name, side, i]
            yield "domain widened", f"{at}", put(at, f"{new.numerator}/{new.denominator}"), False
            beyond = (high if side == "lower" else low) - sign * step
            yield "domain inside out", f"{at}", put(at, f"{beyond.numerator}/{beyond.denominator}"), False
            for odd in ("1/0", "0.5", "nan", "1e9/1", "", 0.5, None, "9" * 2000 + "/1", "\uff11/1"):
                yield "wrong type", f"{at} = {str(odd)[:9]!r}", put(at, odd), False
    for side in ("lower", "upper"):
        yield "domain of another size", side, put(["domain", name, side], ends[side][:-1]), False
        yield "domain of another size", side, put(["domain", name, side], [*ends[side], "0/1"]), False
    scale = Fraction(ends["scale"]) * 2
    yield (
        "domain scale",
        name,
        put(["domain", name, "scale"], f"{scale.numerator}/{scale.denominator}"),
        False,
    )
    yield "domain zero", name, put(["domain", name, "zero"], ends["zero"] + 1), False
    yield "domain range", name, put(["domain", name, "range"], [-127, 127]), False
    yield "domain dropped", name, drop(["domain", name]), False
    yield "domain renamed", name, rename(["domain"], name, name + "x"), False
    for key in ends:
        yield "field dropped", f"domain {key}", drop(["domain", name, key]), False


def _leaves(doc: dict[str, Any]) -> Iterator[Mutation]:
    """Methods of the leaves, and cuts moved a little: what only the bounds can find."""
    said = doc.get("leaves")
    count = doc["tree"].count(None)
    if said is None:
        yield "leaves by cells", "all", put(["leaves"], ["cells"] * count), False
        yield "leaves without cells", "all", put(["leaves"], ["product"] * count), False
        return
    yield "leaves forgotten", "all", drop(["leaves"]), False
    yield "leaves swapped", "all", put(["leaves"], ["product"] * count), False
    for i, method in enumerate(said):
        yield "leaf dropped", f"{i}", drop(["leaves", i]), False
        yield "leaf twice", f"{i}", put(["leaves"], [*said[:i], method, *said[i:]]), False
        for other in ("interval", "exact", None, 0, ["cells"], "cell"):
            yield "leaf of another method", f"{i} {other}", put(["leaves", i], other), False
        for other in ("product", "crown", "float"):
            if method != other:
                yield f"leaf by {other}", f"{i}", put(["leaves", i], other), False
    yield from _neurons(doc)
    for i, node in enumerate(doc["tree"]):
        if node is not None and len(node) == 3:
            place = Fraction(node[2])
            step = Fraction(doc["domain"][node[0]]["scale"])
            for move in (step / 4, -step, Fraction(1, 1 << 60)):
                yield "tree cut moved a little", f"{i}", put(["tree", i, 2], rational(place + move)), False


def _neurons(doc: dict[str, Any]) -> Iterator[Mutation]:
    """Cuts by neurons: what their two sides are. Places far away leave one side without any input."""
    for i, node in enumerate(doc["tree"]):
        if node is None or len(node) == 3:
            continue
        value, element, side, place = node
        for move in (Fraction(1, 1000), Fraction(-1, 20), Fraction(1)):
            new = rational(Fraction(place) + move)
            yield "neuron cut moved", f"{i} by {move}", put(["tree", i, 3], new), False
        for far in (10**6, -(10**6)):
            yield "neuron cut far away", f"{i} {far}", put(["tree", i, 3], f"{far}/1"), False
        yield "neuron cut beyond floats", f"{i}", put(["tree", i, 3], f"{1 << 201}/1"), False
        yield "neuron cut of the other side", f"{i}", put(["tree", i, 2], {"x": "y", "y": "x"}[side]), False
        yield (
            "neuron cut of another neuron",
            f"{i}",
            put(["tree", i, 1], element + 1 - 2 * (element > 0)),
            False,
        )
        for new in (-1, 10**6, True, "0", None):
            yield "neuron cut of none", f"{i} {new!r}", put(["tree", i, 1], new), False
        for name in ("nothing", *doc["domain"]):
            yield "neuron cut of no value", f"{i} {name}", put(["tree", i, 0], name), False
        for new in ("z", "", None, 0, ["x"]):
            yield "neuron cut of no side", f"{i} {new!r}", put(["tree", i, 2], new), False
        yield "neuron cut without its side", f"{i}", put(["tree", i], [value, element, place]), False


def rational(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _tree(doc: dict[str, Any]) -> Iterator[Mutation]:
    tree = doc["tree"]
    (name, ends), *_ = doc["domain"].items()
    middle = (Fraction(ends["lower"][0]) + Fraction(ends["upper"][0])) / 2
    cut = [name, 0, f"{middle.numerator}/{middle.denominator}"]
    for new in ([], [None, None], [cut, None], [cut], [[name, 0, ends["lower"][0]], None, None],
                [[name, 0, ends["upper"][0]], None, None], [[name, -1, cut[2]], None, None],
                [[name, 10**6, cut[2]], None, None], [["nothing", 0, cut[2]], None, None],
                [cut, cut, None, None, None], [cut[:2], None, None],
                [[name, 0, 0.0], None, None]):  # fmt: skip
        if new != tree:
            yield "tree", str(new)[:70], put(["tree"], new), False
    for i, node in enumerate(tree):
        yield "tree node dropped", f"{i}", drop(["tree", i]), False
        if node is not None:
            for place in (doc["domain"][node[0]]["lower"][node[1]], "1000/1") if len(node) == 3 else ():
                yield "tree cut moved", f"{i}", put(["tree", i, 2], place), False
            yield "tree cut made a leaf", f"{i}", put(["tree", i], None), False
