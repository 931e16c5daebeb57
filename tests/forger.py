# SPDX-License-Identifier: Apache-2.0
"""Forged certificates: mutations of every field of the certificate, of both networks and of the sources.

A forger with `hashes` writes the hashes of the changed files into the certificate again, so that only the
mathematics can find the change. One mutation is (class, what, change of a Forged in memory).
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx


@dataclass
class Forged:
    """A build and its certificate in memory."""

    document: dict[str, Any]
    network: dict[str, Any]
    arrays: dict[str, Any]
    model: Any
    sources: dict[str, bytes]
    raw: dict[str, bytes]

    def node(self, name: str) -> dict[str, Any]:
        return next(node for node in self.network["nodes"] if node["name"] == name)


Change = Callable[[Forged], None]
Mutation = tuple[str, str, Change, bool]  # class, what, change, whether hashes are written again


def load(certificate: Path, folder: Path) -> Forged:
    """What a forger starts from."""
    with np.load(folder / "network.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    names = [p for key in ("c", "verilog") for p in sorted((folder / key).rglob("*")) if p.is_file()]
    return Forged(
        json.loads(certificate.read_text()),
        json.loads((folder / "network.json").read_text()),
        arrays,
        onnx.load(str(folder / "float.onnx")),
        {p.relative_to(folder).as_posix(): p.read_bytes() for p in names},
        {n: (folder / n).read_bytes() for n in ("float.onnx", "network.json", "network.npz")},
    )


def write(start: Forged, change: Change, folder: Path, *, hashes: bool) -> Path:
    """The forged build in `folder`; its certificate. Files that did not change keep their bytes."""
    forged = copy.deepcopy(start)
    change(forged)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts = dict(start.raw)
    if forged.network != start.network:
        texts["network.json"] = json.dumps(forged.network).encode()
    if not same(forged.arrays, start.arrays):
        out = io.BytesIO()
        np.savez(out, **forged.arrays)
        texts["network.npz"] = out.getvalue()
    if forged.model != start.model:
        texts["float.onnx"] = forged.model.SerializeToString()
    for name, data in {**texts, **forged.sources}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    if hashes:
        forged.document["hashes"] = hashes_of(texts, forged.sources)
    path = folder / "certificate.json"
    path.write_text(json.dumps(forged.document))
    return path


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return set(a) == set(b) and all(x.dtype == b[k].dtype and np.array_equal(x, b[k]) for k, x in a.items())


def hashes_of(texts: dict[str, bytes], sources: dict[str, bytes]) -> dict[str, str]:
    sha = lambda data: hashlib.sha256(data).hexdigest()  # noqa: E731
    single = {"float": "float.onnx", "network": "network.json", "network_arrays": "network.npz"}
    found = {key: sha(texts[name]) for key, name in single.items()}
    for folder in ("c", "verilog"):
        held = {n.removeprefix(f"{folder}/"): d for n, d in sources.items() if n.startswith(f"{folder}/")}
        if held:
            found[folder] = sha("".join(f"{sha(held[n])}  {n}\n" for n in sorted(held)).encode())
    return found


def mutations(start: Forged, seed: int = 0) -> Iterator[Mutation]:
    """All of them, for one build."""
    from forger_document import of_document
    from forger_networks import of_arrays, of_model, of_network, of_sources

    rng = np.random.default_rng(seed)
    yield from of_document(start, rng)
    yield from of_network(start)
    yield from of_arrays(start, rng)
    yield from of_model(start, rng)
    yield from of_sources(start, rng)
