# SPDX-License-Identifier: Apache-2.0
"""The files of a BUILD folder by name: networks, vectors, generated sources, certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .boxes import Box
from .build_folder import sha256, tree_hash
from .certify.certificate import ONCE, Certificate, certify
from .certify.effort import Effort
from .errors import CompileError
from .frontends import self_contained
from .graph import Graph
from .kernels.kernel_plan import KernelPlan
from .network_file import arrays_of, dump_json, dump_npz, to_json
from .options import Options
from .passes.run_time_bits import has_bits, reported, with_bits
from .pipeline import Networks
from .report.html import render_report
from .simulate.golden import golden
from .simulate.vectors import test_vectors
from .simulate.verify import Verdict
from .targets.bounds import CertifiedError
from .targets.c import generate_c
from .targets.verilog import generate_verilog

VECTORS, FEWEST = 128, 32
WORK = 400_000_000  # multiply-accumulates of all golden vectors: large networks get fewer
CERTIFICATE = "certificate.json"


def network_files(networks: Networks, seed: int, stop: Callable[[], bool]) -> dict[str, bytes]:
    """Both networks, golden vectors and the domain; CancelledError once `stop` says so."""
    graph = networks.integer_graph
    work = sum(node.op.macs() for node in graph.nodes)
    vectors = test_vectors(graph, max(FEWEST, min(VECTORS, WORK // max(work, 1))), seed)
    shown = golden(graph, vectors, names=graph.outputs, stop=stop)
    kept = {f"{n}__q": vectors[n].astype(graph.values[n].word) for n in graph.inputs}
    kept.update({f"{n}__q": shown[n].astype(graph.values[n].word) for n in graph.outputs})
    return {
        "float.onnx": self_contained(networks.reference),
        "network.json": dump_json(to_json(graph)),
        "network.npz": dump_npz(arrays_of(graph)),
        "vectors/golden.npz": dump_npz(kept),
        "vectors/domain.npz": domain_file(networks.domain),
    }


@contextmanager
def beside(networks: Networks, seed: int) -> Iterator[Future[dict[str, bytes]]]:
    """network_files while something else runs; an exception there (Ctrl-C, a budget) ends them too."""
    left = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(network_files, networks, seed, left.is_set)
        finally:
            left.set()


def report_files(report: Mapping[str, Any], verdict: Verdict | None = None) -> dict[str, bytes]:
    """report.json, and report.html, which shows the verdict too."""
    page = render_report(report, None if verdict is None else verdict.to_json())
    return {"report.json": dump_json(report), "report.html": page.encode()}


def domain_file(box: Box) -> bytes:
    """vectors/domain.npz."""
    ends = {f"{n}.lower": a for n, a in box.lower.items()} | {f"{n}.upper": a for n, a in box.upper.items()}
    return dump_npz(ends)


def certificate_file(bits: int) -> str:
    """The name of the certificate for a number of run-time activation bits."""
    return CERTIFICATE if bits == 8 else f"certificate_bits{bits}.json"


def generated(
    plan: KernelPlan, box: Box, certificates: Mapping[int, Certificate], target: str, buffers: str
) -> dict[str, bytes]:
    """c/ and verilog/, rendered for certificates (by bits)."""
    claim = certified_error(certificates, box) if certificates else None
    c = generate_c(plan.graph, claim, buffers, plan=plan) if target in ("c", "all") else {}
    verilog = generate_verilog(plan.graph) if target in ("verilog", "all") else {}
    files = {f"c/{name}": text.encode() for name, text in c.items()}
    return files | {f"verilog/{name}": text.encode() for name, text in verilog.items()}


def with_certificates(
    files: Mapping[str, bytes], certificates: Mapping[int, Certificate]
) -> dict[str, bytes]:
    """The files with certificates that are tied to all of them."""
    hashes = hashes_of(files) if certificates else {}
    tied = {certificate_file(bits): each.with_hashes(hashes).dump() for bits, each in certificates.items()}
    return {**files, **tied}


def certified(
    float_graph: Graph,
    graph: Graph,
    box: Box,
    seed: int,
    bits: int = 8,
    effort: Effort = ONCE,
    *,
    single: bool = False,
    weights: Mapping[str, NDArray[np.float64]] | None = None,
) -> Certificate:
    """The certificate at some run-time activation bits; `single`: against the network in float32; `weights`:
    with the bound of a combination of outputs."""
    cut = with_bits(graph, bits)
    own = bits if has_bits(graph) else None
    try:
        ends = box.lower, box.upper
        how: dict[str, Any] = {"bits": own, "seed": seed, "effort": effort, "grid": box.grid}
        return certify(float_graph, cut, *ends, hashes={}, single=single, weights=weights, **how)
    except OverflowError as error:  # a bound beyond every double
        raise CompileError("--domain", "no finite bound over this box", "one", "a smaller box") from error


def certificates_of(
    float_graph: Graph,
    graph: Graph,
    box: Box,
    seed: int,
    effort: Effort = ONCE,
    *,
    single: bool = False,
    weights: Mapping[str, NDArray[np.float64]] | None = None,
) -> dict[int, Certificate]:
    """By run-time bits, those that a header states; each has an equal share of the time."""
    how: dict[str, Any] = {"single": single, "weights": weights}
    every, found = list(reported(graph)), dict[int, Certificate]()
    for bits in every:
        share = effort.share(len(every) - len(found))
        found[bits] = certified(float_graph, graph, box, seed, bits, share, **how)
    return found


def hashes_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """What a certificate is tied to: both networks, and the generated sources that there are."""
    single = {"float": "float.onnx", "network": "network.json", "network_arrays": "network.npz"}
    hashes = {key: sha256(files[name]) for key, name in single.items()}
    for folder in ("c", "verilog"):
        sources = {k.removeprefix(f"{folder}/"): v for k, v in files.items() if k.startswith(f"{folder}/")}
        if sources:
            hashes[folder] = tree_hash(sources)
    return hashes


def certified_error(certificates: Mapping[int, Certificate], box: Box) -> CertifiedError:
    """What the C header says of the certificates."""

    def exact(ends: Mapping[str, NDArray[np.float64]]) -> dict[str, list[Fraction]]:
        return {name: [Fraction(float(x)) for x in np.ravel(array)] for name, array in ends.items()}

    errors = {bits: certificate.error_e9 for bits, certificate in certificates.items()}
    single = certificates[8].arithmetic == "float32"
    return CertifiedError(errors.pop(8), errors, exact(box.lower), exact(box.upper), box.grid, single)


def manifest_of(options: Options, model: Path) -> dict[str, Any]:
    """What a manifest says before its files are known: how the build was asked for, and of which model."""
    return {
        "tinybound": __version__,
        "model": {"name": model.name, "sha256": sha256(model.read_bytes())},
        "options": options.to_json(),
        "requantise": options.requant,
    }
