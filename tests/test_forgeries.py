# SPDX-License-Identifier: Apache-2.0
"""Forged certificates are rejected: mutations of every field, hashes written again where the mathematics must
find the change (tests/forger.py makes them)."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import forger
import numpy as np
import pytest
from checker_nets import by_neurons, moving, random_build

from tinybound.certify import neurons
from tinybound.certify.between import shallow, sums_of
from tinybound.certify.branch import bounds, ranges
from tinybound.certify.cells import Cells, Numpy
from tinybound.certify.certificate import certify
from tinybound.certify.chain import chain_of
from tinybound.certify.effort import WORK, Effort
from tinybound.certify.halves import closed
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.pieces import Neuron, Whole
from tinybound.checker import check_certificate
from tinybound.domains.pair_crown import PairCrown
from tinybound.domains.pair_interval import PairInterval
from tinybound.domains.pair_product import PairProduct
from tinybound.domains.pair_zonotope import PairZonotope
from tinybound.frontends import load_onnx
from tinybound.network_file import from_json
from tinybound.passes.match import match_reference

# The certificate says less than it could, all of it true.
WEAKER = {
    "attack lowered",  # a lower bound that is lower
    "bound raised",  # of an element that is not the largest, which bound_e9 repeats
    "domains raised",  # what each domain alone proves
    "range_in_domain widened",  # still inside the range that is derived without the box
    "saturates lengthened",  # a neuron listed that cannot saturate
    "seconds changed",  # nobody can know
    "code to int8",  # how weights are stored; the integers stay the same, and every code's rules are checked
    "code to int4",
    "code to pot4",
    # The leaves are bounded anew, as the forgery has them, and no bound is above the claim.
    "leaves by cells",
    "tree cut moved a little",
    "tree cut made a leaf",
}
# The same of pieces by neurons, and with other passes: the prover confirms each.
OTHER_PIECES = {
    "leaves forgotten",
    "leaf by product",
    "leaf by crown",
    "leaf by float",
    "neuron cut moved",
    "neuron cut far away",
    "neuron cut of the other side",
    "neuron cut of another neuron",
}
# A changed network, with new hashes: its bound is computed anew and is still not above the claim, so the
# certificate is true of the files it names. The test has the prover confirm every one of them.
STILL_TRUE = {
    "weights changed",
    "weights changed by 1",
    "bias changed",
    "bias changed by 1",
    "entries changed",
    "knots changed",
    "bends changed",
    "knees changed",
    "Requantise.lo changed",  # a limit that no neuron reaches
    "Requantise.hi changed",
    "Curve.lo changed",
    "Curve.hi changed",
    "float parameter moved",
    "float parameter moved a little",
    "float attribute changed",
}


def pieces(bundled: Callable[..., Any], folder: Path, effort: Effort, name: str = "controller2") -> Path:
    """A controller, its box in pieces; the header's macro says the same."""
    path, build = bundled(name, folder)
    box = build.domain
    made = certify(build.float_graph, build.graph, box.lower, box.upper, hashes={}, effort=effort, budget=500)
    path.write_bytes(made.with_hashes({"float": "", "network": "", "network_arrays": ""}).dump())
    for header in (folder / "c").glob("*.h"):
        text = re.sub(r"(_CERTIFIED_ERROR_E9) \d+", rf"\g<1> {made.error_e9}", header.read_text())
        header.write_text(text)
    start = forger.load(path, folder)
    document = {**start.document, "hashes": forger.hashes_of(start.raw, start.sources)}
    path.write_text(json.dumps(document))
    return path


def made(name: str, bundled: Callable[..., Any], folder: Path) -> Path:
    if name == "pieces":
        return pieces(bundled, folder, Effort(5))
    if name == "cells":
        return pieces(bundled, folder, Effort(9, cells=1 << 13))
    if name == "shallow":  # leaves by cells that are too many to be looked at: each is bounded as a whole
        return pieces(bundled, folder, Effort(12, cells=1 << 23), "controller4")
    if name in ("neurons", "float"):
        how = {"neurons": (12, 8), "float": (16, 6)}[name]
        return by_neurons(folder.parent, *how, calibrated=name == "float").folder / "certificate.json"
    if name == "table":
        return random_build(1, folder).folder / "certificate.json"
    if name == "curve":  # a LeakyRelu: a curve with a knee
        return random_build(25, folder, activations=16).folder / "certificate.json"
    if name == "int16":
        return random_build(3, folder, activations=16).folder / "certificate.json"
    if name == "moving":
        return moving(folder).folder / "certificate.json"
    return bundled(name, folder)[0]


def still_true(path: Path) -> bool:
    """The prover's own bound of the forged networks, in the certificate's box, is not above the claim."""
    folder, document = path.parent, json.loads(path.read_text())
    with np.load(folder / "network.npz") as archive:
        graph = from_json(json.loads((folder / "network.json").read_text()), dict(archive))
    real = match_reference(load_onnx(folder / "float.onnx").graph, graph)[0]
    both, values = lockstep(real, graph), [out["value"] for out in document["outputs"].values()]
    box = {
        name: [[Fraction(v) for v in end[side]] for side in ("lower", "upper")]
        for name, end in document["domain"].items()
    }

    def proven(box, makes):
        ends = ({n: exact(x[i], graph.values[n].shape) for n, x in box.items()} for i in (0, 1))
        at = entries(both, graph, *ends)
        found = [bounds(both, make, at, values) for make in makes]
        return {value: np.min([f[value] for f in found], axis=0) for value in values}

    whole = proven(box, (PairInterval, PairZonotope, PairProduct, PairCrown))
    at = entries(
        both, graph, *({n: exact(x[i], graph.values[n].shape) for n, x in box.items()} for i in (0, 1))
    )
    cut = Whole(both, at)
    pieces = leaves(iter(document["tree"]), cut, cut.root)
    methods = document.get("leaves", ["product"] * len(pieces))
    parts, known = [], None
    claim = np.array([b for out in document["outputs"].values() for b in out["bound"]])
    for piece, method in zip(pieces, methods, strict=True):
        if method == "cells":
            chain = chain_of(both, values)
            cells = Cells(chain, cut.entries[0], cut.root, Numpy(chain))
            parts.append({values[0]: by_cells(cells, piece, claim).reshape(graph.values[values[0]].shape)})
        elif piece.limits:
            if known is None:
                crown = ranges(both, PairCrown, at, {*both.values.values()})
                known = neurons.bounded(both, at, (), values, crown).boxes
            parts.append(by_limits(both, at, piece.limits, values, known, method))
        else:
            make = PairCrown if method == "crown" else PairProduct
            parts.append(bounds(both, make, cut.of(piece), values))
    return all(
        (np.minimum(whole[v], np.max([p[v] for p in parts], axis=0)).ravel() <= out["bound"]).all()
        for v, out in zip(values, document["outputs"].values(), strict=True)
    )


def by_cells(cells, piece, claim):
    """The prover's bound on a piece by its cells, as fine as the claim asks for; infinite if it gives up."""
    if not shallow(cells.chain):
        return cells.bounds([piece]).bound[0]
    (found,) = closed(cells, sums_of(cells), [piece], float(claim.min()), WORK, 0.0)
    return np.full(claim.shape, np.inf) if found is None else found.bound


def by_limits(both, at, limits, values, known, method):
    """The prover's bound on a piece cut by neurons; of one by `float` the least of all that it lies in."""
    only_x = method == "float"
    counts = range(1, len(limits) + 1) if only_x else [len(limits)]
    found = [neurons.bounded(both, at, limits[:n], values, known, only_x=only_x).bound for n in counts]
    return {value: np.min([f[value] for f in found], axis=0) for value in values}


def exact(ends, shape):
    """Fractions as an array of objects."""
    return np.array([*ends, None], object)[:-1].reshape(shape)


def leaves(tree, whole, piece):
    """The pieces that a tree in prefix order cuts a piece into (of networks with one input)."""
    cut = next(tree)
    if cut is None:
        return [piece]
    element = cut[1] if len(cut) == 3 else Neuron(*cut[:3])
    below, above = whole.cut(piece, element, Fraction(cut[-1]))
    first = leaves(tree, whole, below)
    return first + leaves(tree, whole, above)


def of_curves(kind, what, *_):
    """What other builds do not have: a check takes a fifth of a second, as a curve has 65,536 integers."""
    return any(word in f"{kind} {what}" for word in ("Curve", "knots", "bends", "knees", "LeakyRelu"))


def forge(name, bundled, tmp_path, first, step):
    """Every step-th mutation from `first` on."""
    path = made(name, bundled, tmp_path / "build")
    answer = check_certificate(path, path.parent)
    assert answer["accepted"], answer["reason"]
    start, accepted, count, wrong = forger.load(path, path.parent), Counter(), Counter(), []
    forgeries = [each for each in forger.mutations(start) if name != "curve" or of_curves(*each)]
    for kind, what, change, hashes in forgeries[first::step]:
        forged = forger.write(start, change, tmp_path / "forged", hashes=hashes)
        answer = check_certificate(forged, forged.parent)
        count[kind] += 1
        if not answer["accepted"]:
            assert answer["reason"]
            continue
        accepted[kind] += 1
        # A claim about 16-bit integers lies further above what is computed than the least forgery lowers it.
        maybe = STILL_TRUE | OTHER_PIECES | ({"bound lowered"} if name == "curve" else set())
        harmless = kind in WEAKER or (kind in maybe and still_true(forged))
        if not harmless:
            wrong.append((kind, what))
    rejected = count.total() - accepted.total()
    print(f"{name}: {count.total()} forgeries of {len(count)} classes, {rejected} rejected;")
    print("  harmless: " + ", ".join(f"{kind} {n} of {count[kind]}" for kind, n in accepted.items()))
    assert wrong == []
    return count


@pytest.mark.parametrize(
    "name, step",
    [("pieces", 16), ("cells", 32), ("moving", 32), ("int16", 40), ("float", 80), ("shallow", 90)],
)
def test_forgeries(name, step, bundled, tmp_path):
    assert forge(name, bundled, tmp_path, 3, step).total() > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, step",
    [
        ("pieces", 1),
        ("cells", 1),
        ("table", 1),
        ("curve", 1),
        ("softmax", 3),
        ("pool64", 9),
        ("residual_qdq", 9),
        ("moving", 1),
        ("int16", 3),
        ("neurons", 3),
        ("float", 3),
        ("shallow", 3),
    ],
)
def test_all_forgeries(name, step, bundled, tmp_path):
    count = forge(name, bundled, tmp_path, 0, step)
    assert name != "curve" or count["knees changed"] >= 3


def test_moved_integers_mean_what_they_meant(tmp_path):
    """Twice the scale behind a Take and twice the weights that read it: no number in the bound changes."""
    path = made("moving", tmp_path, tmp_path / "build")
    start = forger.load(path, path.parent)
    take = next(n for n in start.network["nodes"] if n["op"] == "Take")
    reader = next(n for n in start.network["nodes"] if take["output"] in n["inputs"])

    def change(f):
        (value,) = [v for v in f.network["values"] if v["name"] == take["output"]]
        value["scale"] = [str(2 * Fraction(s)) for s in value["scale"]]
        f.arrays[f"{reader['name']}.weights"] = f.arrays[f"{reader['name']}.weights"] * 2

    forged = forger.write(start, change, tmp_path / "forged", hashes=True)
    answer = check_certificate(forged, forged.parent)
    assert "another scale" in answer["reason"]


def test_an_unchanged_copy_is_accepted(bundled, tmp_path):
    """The forger's own writing is not what is rejected."""
    path = made("controller2", bundled, tmp_path / "build")
    start = forger.load(path, path.parent)
    forged = forger.write(start, lambda _: None, tmp_path / "forged", hashes=True)
    assert check_certificate(forged, forged.parent)["accepted"]
    note = forger.write(start, lambda f: f.network.update(name="other"), tmp_path / "forged", hashes=True)
    assert check_certificate(note, note.parent)["accepted"]  # a name means nothing


HOSTILE = {
    "a zip bomb": ("network.npz", lambda d: bomb()),
    "no zip": ("network.npz", lambda d: b"PK" + d[:100]),
    "a cut zip": ("network.npz", lambda d: d[: len(d) // 2]),
    "no protobuf": ("float.onnx", lambda d: b"\xff" * 500),
    "a cut model": ("float.onnx", lambda d: d[: len(d) // 2]),
    "an empty model": ("float.onnx", lambda d: b""),
    "deep json": ("network.json", lambda d: b"[" * 100_000 + b"]" * 100_000),
    "a huge number": ("network.json", lambda d: d.replace(b'"zero": -1', b'"zero": ' + b"9" * 5000)),
    "a huge shape": (
        "network.json",
        lambda d: re.sub(rb'"shape": \[\s*16\s*\]', b'"shape": [16, 1000000000]', d),
    ),
    "a NaN": ("network.json", lambda d: d.replace(b'"zero": -1', b'"zero": NaN')),
}


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dense1.bias.npy", b"\0" * (1 << 29))
    return out.getvalue()


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files(kind, bundled, tmp_path):
    name, edit = HOSTILE[kind]
    path = made("controller2", bundled, tmp_path / "build")
    (path.parent / name).write_bytes(edit((path.parent / name).read_bytes()))
    document = json.loads(path.read_text())
    texts = {n: (path.parent / n).read_bytes() for n in ("float.onnx", "network.json", "network.npz")}
    sources = {
        p.relative_to(path.parent).as_posix(): p.read_bytes()
        for key in ("c", "verilog")
        for p in (path.parent / key).rglob("*")
        if p.is_file()
    }
    path.write_text(json.dumps({**document, "hashes": forger.hashes_of(texts, sources)}))
    answer = check_certificate(path, path.parent)
    assert answer["accepted"] is False
    assert "changed since" not in answer["reason"]  # not the hash found it
    assert answer["seconds"] < 20
