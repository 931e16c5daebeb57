# SPDX-License-Identifier: Apache-2.0
"""check_certificate: files, both networks, the cover of the box, every claim. It always answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from . import cells, corners
from .analysis import Analysis, Nothing
from .chain import chain
from .claims import Claim, check_layers, check_witness, read_claims
from .cover import Leaf, leaves
from .crown import Crown
from .envelopes import Entry
from .files import (
    Rejected,
    floats,
    integer,
    integers,
    mapping,
    need,
    rational,
    read,
    read_folder,
    read_npz,
    sequence,
    sha256,
    strict_json,
    text,
    tree_hash,
)
from .float_net import read_float
from .integer_net import read_network, rule
from .layers import Network
from .limits import TooLong, TooMuch, within
from .objective import Objective, behind, check_objective, check_shown, read_objective
from .pairs import Step, pair
from .rounding import Floats
from .single import only_known

FORMAT = "tinybound-certificate-1"
LEAST = "interval, zonotope, product, crown: the least"
KEYS = {"format", "hashes", "semantics", "mode", "method", "domain", "tree", "layers", "outputs", "seconds"}
ONE_FILE = {"float": "float.onnx", "network": "network.json", "network_arrays": "network.npz"}
MOST = 1 << 38  # multiply-adds of backward passes that a certificate may ask for
KINDS: dict[str, Callable[..., Analysis]] = {
    "interval": partial(Analysis, intervals=True, zonotope=False),
    "zonotope": partial(Analysis, intervals=False, zonotope=True),
    "product": partial(Analysis, intervals=True, zonotope=True),
    "crown": Crown,
}
LEAVES: dict[str, Callable[..., Analysis]] = {  # that one pass bounds
    "product": KINDS["product"],
    "crown": Crown,
    "float": partial(Crown, real=True),
}
Entries = dict[str, Entry]
Progress = Callable[[int, int], None]
TIMEOUT, MEMORY = 1800.0, 8.0  # seconds, GiB


def check_certificate(
    certificate: Path,
    build: Path,
    progress: Progress = lambda _done, _all: None,
    *,
    timeout: float = TIMEOUT,
    memory: float = MEMORY,
) -> dict[str, Any]:
    """Keys: accepted, reason, bound (largest recomputed, per output), leaves, seconds. Never raises.

    `progress`: hears of how many leaves, of how many, the bounds are computed. `timeout`: seconds, `memory`:
    GiB beside what the process holds already: nothing is accepted that needs more.
    """
    start, count, reason = time.perf_counter(), 0, ""
    bound: dict[str, float] = {}
    _keep_memory()
    states = np.errstate(over="raise", divide="raise", invalid="raise", under="ignore")
    try:
        with within(timeout, int(memory * 2**30)), states:
            bound, count = _check(Path(certificate), Path(build), progress)
    except Rejected as rejected:
        reason = str(rejected)
    except TooLong:
        reason = f"not confirmed within {timeout:g} s; --timeout S allows more"
    except TooMuch:
        reason = f"not confirmed within {memory:g} GiB of memory; --memory GIB allows more"
    except MemoryError:
        reason = "the networks do not fit into memory"
    except Exception as error:  # noqa: BLE001 -- a hostile file may make numpy, onnx or zipfile raise anything
        reason = f"damaged ({type(error).__name__}: {error})"
    answer = {"accepted": not reason, "reason": reason[:500] or "every claim is confirmed", "bound": bound}
    return {**answer, "leaves": count, "seconds": round(time.perf_counter() - start, 3)}


def _keep_memory() -> None:
    """glibc gives large blocks back to the system when they are freed, and asks for them anew: half of the
    time that a check took. Once one is freed, it keeps smaller ones (mallopt(3), M_MMAP_THRESHOLD)."""
    np.empty((32 << 20) - (1 << 16), np.uint8)


def _check(certificate: Path, build: Path, progress: Progress) -> tuple[dict[str, float], int]:
    document = strict_json(read(certificate), "certificate")
    mapping(document, "certificate", KEYS | ({"leaves", "objective", "passes", "corners"} & set(document)))
    need(document["format"] == FORMAT, f"format {document['format']!r}")
    files = _hashes(document["hashes"], build)
    bits, said, single = _semantics(document)
    arrays = read_npz(files["network_arrays"], "network.npz")
    whole = read_network(strict_json(files["network"], "network.json"), arrays, bits)
    need(rule(whole) == said, f"semantics: the network rounds by the rule {rule(whole)!r}")
    real = read_float(files["float"])
    if single:
        only_known(files["float"])
    steps = pair(real, whole)
    entries = _domain(document["domain"], whole, grid=document["mode"] == "grid")
    claims = read_claims(document["outputs"], whole, single=single)
    _header(build, claims, bits)
    sizes = {step.layer.output: prod(step.shape) for step in steps}
    cuts = leaves(document["tree"], entries, sizes)
    pieces = _methods(document, cuts)
    allowed = [f"{LEAST}, worst piece"] if pieces else [LEAST, "interval"]
    need(document["method"] in allowed, "method")
    check_witness(claims, steps, whole, entries, single=single)
    asked = read_objective(document["objective"], claims, whole) if "objective" in document else None
    if asked is not None:
        need(document["method"] != "interval", "objective: bounded by intervals alone")
        check_shown(asked, claims, steps, whole, entries, single=single)
    heard = _counter(progress, len(cuts))
    found = _recompute(document, claims, steps, whole, entries, pieces, asked, heard, single=single)
    return {claim.name: float(found[claim.value].max()) for claim in claims}, len(cuts)


def _counter(progress: Progress, count: int) -> Callable[[int], None]:
    """Adds up leaves that are done."""
    done = 0

    def heard(more: int) -> None:
        nonlocal done
        done += more
        progress(done, count)

    return heard


def _hashes(said: Any, build: Path) -> dict[str, bytes]:
    """The files that the certificate is tied to, all present and unchanged."""
    need(build.is_dir(), f"{build.name}: no such folder")
    folders = {key: read_folder(build / key) for key in ("c", "verilog")}
    hashes = mapping(said, "hashes", {*ONE_FILE, *(key for key, held in folders.items() if held)})
    files = {key: read(build / name) for key, name in ONE_FILE.items()}
    actual = {key: sha256(data) for key, data in files.items()}
    actual |= {key: tree_hash(held) for key, held in folders.items() if held}
    for key, value in actual.items():
        need(hashes[key] == value, f"{ONE_FILE.get(key, key + '/')}: changed since it was certified")
    return files


def _semantics(document: dict[str, Any]) -> tuple[int | None, str, bool]:
    """Run-time bits, the rule that Requantise follows, whether the float network is computed in float32."""
    said = mapping(document["semantics"], "semantics", {"requantise", "bits", "reference"})
    need(said["reference"] in ("real", "float32"), "semantics")
    need(document["mode"] in ("box", "grid"), f"mode {document['mode']!r}")
    need(type(document["seconds"]) in (int, float) and 0 <= document["seconds"] < 1e12, "seconds")
    bits = None if said["bits"] is None else integer(said["bits"], "bits", 2, 8)
    return bits, text(said["requantise"], "semantics: requantise"), said["reference"] == "float32"


def _methods(document: dict[str, Any], cuts: list[Leaf]) -> dict[str, list[Leaf]]:
    """The leaves by their methods; nothing for a whole box that is bounded as it is."""
    if "leaves" not in document:
        return {"product": cuts} if len(cuts) > 1 else {}
    methods = [text(method, "leaves") for method in sequence(document["leaves"], "leaves", len(cuts))]
    need(set(methods) <= {*LEAVES, "cells"} and set(methods) != {"product"}, "leaves: methods")
    need(len(methods) > 1 or methods == ["cells"], "leaves: of a box that is bounded as it is")
    pieces: dict[str, list[Leaf]] = {}
    for method, leaf in zip(methods, cuts, strict=True):
        pieces.setdefault(method, []).append(leaf)
    return pieces


def _passes(document: dict[str, Any]) -> dict[str, Any]:
    """What the backward passes over the whole box may cost, and of how many sums, if not what is usual."""
    if "passes" not in document:
        return {}
    said = mapping(document["passes"], "passes", {"work", "sums"})
    most = float("inf") if said["sums"] is None else integer(said["sums"], "passes: sums", 0, 1 << 20)
    return {"work": integer(said["work"], "passes: work", 1, MOST), "most": most}


def _domain(said: Any, whole: Network, *, grid: bool = False) -> Entries:
    """The box: exact rationals, lower <= upper, the network's own quantiser."""
    entries = {}
    for name, end in mapping(said, "domain", set(whole.inputs)).items():
        mapping(end, f"domain of {name}", {"lower", "upper", "scale", "zero", "range"})
        meaning, shape = whole.meanings[name], whole.shapes[name]
        lower, upper = (
            tuple(rational(v, side) for v in sequence(end[side], side, prod(shape)))
            for side in ("lower", "upper")
        )
        need(all(a <= b for a, b in zip(lower, upper, strict=True)), f"{name}: lower above upper")
        need(max(map(abs, (*lower, *upper))) < 1 << 200, f"{name}: ends beyond every float32")
        need(rational(end["scale"], "scale") == meaning.scales[0], f"{name}: scale of the domain")
        need(integer(end["zero"], "zero") == meaning.zero, f"{name}: zero point of the domain")
        ends = integers(end["range"], "range", -(1 << 15), (1 << 15) - 1, 2)
        need(ends == (meaning.low, meaning.high), f"{name}: range")
        integer_ends = meaning.low, meaning.high
        entry = Entry(lower, upper, meaning.scales[0], meaning.zero, shape, integer_ends, grid)
        on = all(v == entry.scale * (entry.quantised(v) - entry.zero) for v in (*lower, *upper))
        need(on or not grid, f"{name}: ends that are not on the grid")
        entries[name] = entry
    return {name: entries[name] for name in whole.inputs}


def _header(build: Path, claims: list[Claim], bits: int | None) -> None:
    """The error macros of the C header say what the certificate says (one of fewer bits has none)."""
    worst = max(claim.bound_e9 for claim in claims)
    for path in sorted((build / "c").glob("*.h")) if bits in (None, 8) else []:
        for found in re.findall(rb"#define\s+\w*_CERTIFIED_ERROR_E9\s+(\d+)", read(path)):
            need(int(found) == worst, f"c/{path.name}: another certified error than the certificate's")


def _recompute(
    document: dict[str, Any],
    claims: list[Claim],
    steps: list[Step],
    whole: Network,
    entries: Entries,
    pieces: dict[str, list[Leaf]],
    asked: Objective | None,
    heard: Callable[[int], None],
    *,
    single: bool,
) -> dict[str, Floats]:
    """The bound per value; Rejected when a claim is below it."""
    wanted = {claim.value for claim in claims}
    alone, boxes = {}, {}
    kinds = ["interval"] if document["method"] == "interval" else list(KINDS)
    for field in {"corners", "passes"} & set(document):
        need("crown" in kinds, f"{field}: bounded by intervals alone")
    more = [] if asked is None else behind(asked, claims, steps, whole)
    for kind in kinds:
        last = kind == kinds[-1]
        how = _passes(document) if kind == "crown" else {}
        part = KINDS[kind](single=single, **how)
        if isinstance(part, Crown) and "corners" in document:
            need(not single, "corners: of a float32 network")
            part.ends = corners.Ends(document["corners"], steps, entries)
            part.known = part.ends.boxes
        boxes = dict(part.run([*steps, *more] if last else steps, entries))
        alone[kind] = {name: gap(boxes[name]) for name in wanted}
    check_layers(document["layers"], steps, whole, boxes)  # of the last one
    if asked is not None:
        check_objective(asked, claims, boxes[more[-1].layer.output])
    found = {name: np.min([each[name] for each in alone.values()], axis=0) for name in wanted}
    if pieces:
        worst = {name: np.zeros_like(found[name]) for name in wanted}
        seen: dict[Any, dict[str, Floats]] = {}
        passes = [(method, leaf) for method in LEAVES for leaf in pieces.get(method, [])]
        for method, leaf in passes:
            there = _least(method, leaf, boxes, steps, seen, wanted, single=single)
            worst = {name: np.maximum(each, there[name]) for name, each in worst.items()}
            heard(1)
        if "cells" in pieces:
            form, (root,) = chain(steps, whole, wanted), entries.values()
            least = np.min([claim.bound.ravel() for claim in claims], axis=0)
            (whole_box,) = found.values()  # an output of which that is enough asks nothing of the leaves
            least = np.where(whole_box <= least, np.inf, least)
            of_cells = cells.bound(form, root, pieces["cells"], least, single=single, heard=heard)
            worst = {name: np.maximum(each, of_cells) for name, each in worst.items()}
        found = {name: np.minimum(found[name], worst[name]) for name in wanted}
    for claim in claims:
        said = mapping(claim.domains, f"{claim.name}: domains", set(kinds))
        for kind, each in alone.items():
            numbers = floats(said[kind], f"{claim.name}: {kind}", claim.bound.size)
            need((numbers >= each[claim.value]).all(), f"{claim.name}: the {kind} bound is not confirmed")
        short = np.flatnonzero(claim.bound < found[claim.value])
        if short.size:
            i = short[0]
            raise Rejected(
                f"{claim.name}[{i}]: claimed {claim.bound[i]:.10g}, found {found[claim.value][i]:.10g}"
            )
    return found


def _least(
    method: str,
    leaf: Leaf,
    known: dict[str, Floats],
    steps: list[Step],
    seen: dict[Any, dict[str, Floats]],
    wanted: set[str],
    *,
    single: bool,
) -> dict[str, Floats]:
    """Bounds on a leaf; of one by `float` the least of its own and of those on what it was cut from, where
    fewer of its limits hold: these are `seen` once, for all their leaves."""
    most = len(leaf.limits)
    found = []
    for count in (*(range(1, most) if method == "float" else ()), most):
        # A limit is made once, by one cut: it says which ones are before it. Hashing all of them takes long.
        key = method, id(leaf.entries), id(leaf.limits[count - 1]) if count else None
        if key not in seen:
            part, limits = LEAVES[method](single=single), leaf.limits[:count]
            if limits:
                part.known, part.limits = known, limits
            try:
                run = part.run(steps, leaf.entries)
                seen[key] = {name: gap(box) for name, box in run if name in wanted}
            except Nothing:
                seen[key] = {name: np.zeros_like(gap(known[name])) for name in wanted}
        found.append(seen[key])
    return {name: np.min([each[name] for each in found], axis=0) for name in wanted}


def gap(box: Floats) -> Floats:
    """Largest |d| per element, flat."""
    return np.asarray(np.maximum(box[5], -box[4]).ravel())
