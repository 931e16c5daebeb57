# SPDX-License-Identifier: Apache-2.0
"""`compile` a model into a BUILD folder, and `Build`: that folder as an object with a method per verb."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .boxes import Box
from .build_files import (
    CERTIFICATE,
    beside,
    certificates_of,
    certified,
    domain_file,
    generated,
    hashes_of,
    manifest_of,
    report_files,
    with_certificates,
)
from .build_folder import check_target, read_files, read_manifest, write_build
from .certify.certificate import ONCE, Certificate
from .certify.effort import QUICK, Effort
from .errors import CompileError
from .frontends import load_onnx
from .frontends.single import refuse_other
from .graph import Graph
from .kernels.choose import named
from .kernels.kernel_plan import KernelPlan
from .network_file import from_json
from .options import Options
from .passes.match import match_reference
from .passes.run_time_bits import has_bits
from .pipeline import build_networks
from .quantise.calibrate import samples_of_box
from .report.budgets import budget, budget_ahead, first_within_budget, within_error
from .report.summary import keep_counts, summarise
from .simulate.boards import EVERY
from .simulate.compare import Comparison, compare
from .simulate.executors import ALL, Artefact, against_golden, folder_of, machine_of, outputs_of
from .simulate.golden import Ints, dequantise, golden, quantise
from .simulate.verify import Verdict, bound_seen
from .targets.grouping import plan_memory
from .targets.verilog import refuse_wide

DOMAIN_SAMPLES = 128


def compile(model: Path | str, output: Path | str, options: Options | None = None) -> Build:  # noqa: A001 -- the verb
    """Compile an ONNX file into the folder `output`; nothing is written unless every budget holds."""
    options = options or Options()
    check_target(Path(output))
    networks = build_networks(Path(model), options)
    if options.core not in EVERY:
        raise CompileError("--core", f"{options.core!r}", f"one of {', '.join(EVERY)}")
    if options.target != "c":
        refuse_wide(networks.integer_graph)
    budget_ahead(networks.integer_graph, options)
    certificates: dict[int, Certificate] = {}
    if options.domain is not None or options.max_error is not None:
        nets = networks.float_graph, networks.integer_graph
        certificates = certificates_of(*nets, networks.domain, options.seed, QUICK)
        within_error(certificates[8], options)

    def made(plan: KernelPlan) -> tuple[dict[str, bytes], dict[str, Any]]:
        sources = generated(plan, networks.domain, certificates, options.target, options.buffers)
        found = summarise(plan, sources, options.core, certificates, options.buffers)
        return sources, {**found, "rounded_weights": [*networks.rounded]}

    with beside(networks, options.seed) as rest:
        sources, report = first_within_budget(networks.integer_graph, options, made)
        budget(report, options)
        files = with_certificates({**rest.result(), **sources}, certificates)
    files |= report_files(report)
    write_build(Path(output), files, manifest_of(options, Path(model)))
    return Build(Path(output))


def load(folder: Path | str) -> Build:
    """An existing BUILD folder; its files are compared with the manifest when they are used."""
    read_manifest(Path(folder))
    return Build(Path(folder))


@dataclass(frozen=True)
class Build:
    """A BUILD folder."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """manifest.json."""
        return read_manifest(self.folder)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Every file of the build, checked against the manifest's hashes."""
        return read_files(self.folder)

    def file(self, name: str) -> bytes:
        """One file of the build; CompileError when the manifest does not list it."""
        if name not in self.files:
            raise CompileError(str(self.folder), f"no {name}", "a whole build", "tinybound compile again")
        return self.files[name]

    def _arrays(self, name: str) -> dict[str, NDArray[Any]]:
        with np.load(io.BytesIO(self.file(name)), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    @cached_property
    def graph(self) -> Graph:
        """The integer network."""
        return from_json(json.loads(self.file("network.json")), self._arrays("network.npz"))

    @cached_property
    def float_graph(self) -> Graph:
        """The float reference."""
        self.file("float.onnx")
        return match_reference(load_onnx(self.folder / "float.onnx").graph, self.graph)[0]

    @property
    def artefact(self) -> Artefact:
        """The integer network with the folders of its generated sources."""

        def folder(name: str) -> Path | None:  # what a user put there does not make it ours
            return self.folder / name if any(f.startswith(f"{name}/") for f in self.files) else None

        return Artefact(self.graph, folder("c"), folder("verilog"))

    @property
    def plan(self) -> KernelPlan:
        """The steps of the C and their kernels, those that were chosen when it was compiled."""
        return named(self.graph, [layer["kernel"] for layer in self.report["layers"]])

    @property
    def sequence(self) -> tuple[int, ...]:
        """Index of the layer behind each kernel call of the generated C, in the order of execution."""
        buffers = self.manifest["options"].get("buffers", "caller")
        return plan_memory(self.plan, buffers).sequence

    @property
    def certificate(self) -> dict[str, Any] | None:
        """certificate.json, or None for a build without one."""
        return json.loads(self.file(CERTIFICATE)) if CERTIFICATE in self.files else None

    @property
    def domain(self) -> Box:
        """The input domain recorded at compile time."""
        ends, names = self._arrays("vectors/domain.npz"), self.graph.inputs
        return Box({n: ends[f"{n}.lower"] for n in names}, {n: ends[f"{n}.upper"] for n in names})

    def vectors(self) -> dict[str, Ints]:
        """The build's golden input vectors, integers N x shape."""
        held = self._arrays("vectors/golden.npz")
        return {name: held[f"{name}__q"].astype(np.int64) for name in self.graph.inputs}

    def quantise(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Ints]:
        """Integer inputs from real ones (NAME, N x shape) or from integers (NAME__q)."""
        found = {}
        for name in self.graph.inputs:
            value = self.graph.values[name]
            if f"{name}__q" in inputs:
                raw = np.asarray(inputs[f"{name}__q"])
                lo, hi = value.ends
                if raw.dtype.kind not in "iu" or (raw.size and (raw.min() < lo or raw.max() > hi)):
                    what = f"{raw.dtype} values outside {value.word}"
                    raise CompileError(f"{name}__q", what, f"integers in {lo} ... {hi}")
                array: NDArray[Any] = raw.astype(np.int64)
            elif name in inputs:
                real = np.asarray(inputs[name])
                if real.dtype.kind not in "fiub":
                    raise CompileError(name, f"inputs of type {real.dtype}", "numbers")
                array = real.astype(np.float64)
            else:
                raise CompileError("inputs", f"arrays {sorted(inputs)}", f"one named {name!r} or {name}__q")
            if array.shape[1:] != value.shape:
                raise CompileError(name, f"inputs of shape {array.shape}", f"N x {value.shape}")
            found[name] = array if f"{name}__q" in inputs else quantise(value, array)
        counts = {name: len(array) for name, array in found.items()}
        if len(set(counts.values())) > 1:
            raise CompileError("inputs", f"numbers of vectors {counts}", "as many for every input")
        return found

    def check_bits(self, bits: int) -> None:
        """CompileError unless this network can run at that many activation bits."""
        if bits != 8 and not (has_bits(self.graph) and 2 <= bits <= 8):
            raise CompileError("--bits", f"{bits}", "2 ... 8, for a network with weight-pool layers")

    def check_single(self) -> None:
        """CompileError unless the errors of the float network in float32 are known."""
        self.file("float.onnx")
        refuse_other(self.folder / "float.onnx")

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Real outputs of the golden model for real inputs N x shape."""
        return {k: v for k, v in self.simulate(inputs).items() if "__q" not in k}

    def simulate(
        self, inputs: Mapping[str, NDArray[Any]], on: str = "golden", bits: int = 8
    ) -> dict[str, NDArray[Any]]:
        """Outputs NAME (real) and NAME__q (integers), and INPUT__q, by one executor."""
        self.check_bits(bits)
        vectors = self.quantise(inputs)
        with tempfile.TemporaryDirectory() as work:
            outputs = outputs_of(self.artefact, on, vectors, bits, Path(work))
        result: dict[str, NDArray[Any]] = {f"{name}__q": array for name, array in vectors.items()}
        for name, array in outputs.items():
            result[f"{name}__q"] = array
            result[name] = dequantise(self.graph.values[name], array)
        return result

    def verify(
        self,
        on: Iterable[str] | None = None,
        inputs: Mapping[str, NDArray[Any]] | None = None,
        progress: Any = None,
    ) -> Verdict:
        """Every executor against the golden model, layer by layer, and the bound against what was seen."""
        vectors = self.vectors() if inputs is None else self.quantise(inputs)
        artefact = self.artefact
        built = {"golden": True, "rtl": artefact.verilog is not None}
        names = [n for n in ALL if built.get(n, artefact.c is not None)] if on is None else list(on)
        for name in names:  # what cannot run is said before anything is built
            if name != "golden":
                machine_of(name)
                folder_of(artefact, name)
        stages = {}
        with tempfile.TemporaryDirectory() as work:
            for name in names:
                if progress is not None:
                    progress(name)
                if name == "golden" and inputs is None:
                    stages[name] = self._stored(vectors)
                else:
                    stages[name] = against_golden(artefact, name, vectors, Path(work))
        real = self._domain_samples()
        if inputs is not None:
            real = {n: np.asarray(x, np.float64) for n, x in inputs.items() if "__q" not in n}
        seen = bound_seen(
            self.float_graph,
            self.graph,
            self.domain,
            self.certificate,
            vectors if inputs is not None else self.quantise(real),
            real,
        )
        return Verdict(len(next(iter(vectors.values()))), stages, seen)

    def _domain_samples(self) -> dict[str, NDArray[np.float64]]:
        """Real inputs in the domain, N x shape: its sides, its inside, and the certificate's witnesses."""
        found = samples_of_box(self.domain.lower, self.domain.upper, DOMAIN_SAMPLES, seed=1)
        witnesses = [entry["witness"] for entry in (self.certificate or {"outputs": {}})["outputs"].values()]
        for name in self.graph.inputs:
            shape = self.graph.values[name].shape
            known = [np.reshape(witness[name], (1, *shape)) for witness in witnesses]
            found[name] = np.concatenate([found[name], *known])
        return found

    def _stored(self, vectors: dict[str, Ints]) -> Comparison:
        """The golden outputs kept in the build, against the golden model of this version."""
        held, now = self._arrays("vectors/golden.npz"), golden(self.graph, vectors)
        shown = []
        for name in self.graph.outputs:
            kept = held[f"{name}__q"].astype(np.int64).reshape(len(now[name]), -1)
            shown.append((f"output {name}", np.arange(kept.shape[1]), kept))
        return compare(shown, {f"output {name}": now[name] for name in self.graph.outputs})

    def certify(
        self,
        domain: Box | None = None,
        seed: int = 0,
        bits: int = 8,
        effort: Effort = ONCE,
        *,
        single: bool = False,
        weights: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> Certificate:
        """Certify over the build's domain or another; certificate, C header and manifest change together.

        The certificates of some fewer run-time bits come along. That of other `bits` than 8 is returned and
        not kept. `effort`: how far the domain is searched for a better bound; default: not at all. `single`:
        against the float network as float32 computes it. `weights`: of a combination that is bounded too.
        """
        self.check_bits(bits)
        if single:
            self.check_single()
        box, nets = domain or self.domain, (self.float_graph, self.graph)
        if bits == 8:
            certificates = certificates_of(*nets, box, seed, effort, single=single, weights=weights)
            self._rewrite(certificates, box)
        else:
            certificates = {bits: certified(*nets, box, seed, bits, effort, single=single, weights=weights)}
        return certificates[bits].with_hashes(hashes_of(self.files))

    def _rewrite(self, certificates: Mapping[int, Certificate], box: Box) -> None:
        # Firmware goes: its image was built, and perhaps allowed, under the former certificate.
        written = "report", "firmware/", "c/", "verilog/", "certificate"
        kept = {k: v for k, v in self.files.items() if not k.startswith(written)}
        kept["vectors/domain.npz"] = domain_file(box)
        options, plan = self.manifest["options"], self.plan
        buffers = options.get("buffers", "caller")
        kept |= generated(plan, box, certificates, options["target"], buffers)
        files = with_certificates(kept, certificates)
        report = summarise(plan, files, options["core"], certificates, buffers)
        self.replace(files | report_files(keep_counts(report, self.report)))

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Write the build anew with these files, whole or not at all."""
        kept = {k: v for k, v in self.manifest.items() if k != "files"}
        write_build(self.folder, files, kept)
        for name in ("manifest", "files", "graph", "float_graph"):
            self.__dict__.pop(name, None)

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        found: dict[str, Any] = json.loads(self.file("report.json"))
        return found

    def write_report(
        self,
        report: Mapping[str, Any],
        verdict: Verdict | None = None,
        more: Mapping[str, bytes] | None = None,
    ) -> None:
        """Put a new report.json and report.html (and further files) into the build."""
        self.replace({**self.files, **(more or {}), **report_files(report, verdict)})

    def interactive(self) -> Any:
        """The Verilog in a pyverilator object, cycle by cycle (extra `rtl`; see docs/verilog.md)."""
        from .simulate.interactive import open_interactive

        return open_interactive(self.artefact)


__all__ = ["Build", "Options", "compile", "load"]
