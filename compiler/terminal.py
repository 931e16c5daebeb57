# SPDX-License-Identifier: Apache-2.0
"""What a person sees: tables and a progress line on a terminal, JSON on request, no colour elsewhere."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from .certify.certificate import Certificate
    from .doctor import Row
    from .simulate.verify import Verdict

SIZES = (
    ("flash", "flash_bytes"),
    ("RAM: arena", "ram_bytes"),
    ("input", "input_bytes"),
    ("output", "output_bytes"),
    ("stack", "stack_bytes"),
    ("all RAM", "ram_with_stack_bytes"),
)
KINDS = ("interval", "zonotope", "crown")  # domains that are shown
WIDE = 200  # columns of a table in a file or a pipe, where nothing wraps

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner on a terminal, silence elsewhere."""
    if not err.is_terminal:
        yield
        return
    with err.status(escape(what)):
        yield


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """A spinner that names the stage at work; silence off a terminal."""
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status("starting") as status:
        yield lambda name: status.update(f"running {escape(name)}")


class Ends:
    """A bar that fills as the certified bound comes down to what was found, before as the box is passed."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._start = bar, list[float]()
        self._task = bar.add_task("", total=1.0, ends="")

    def __call__(self, low: float, high: float) -> None:
        ratio, done = max(high / low, 1.0) if low > 0 else math.inf, None
        if not math.isinf(ratio):  # else nothing was sought yet
            self._start.append(ratio)  # the first one is what is left to do
            done = 1.0 if ratio == 1 else 1 - min(math.log(ratio) / math.log(self._start[0]), 1.0)
        text = f"at least {low:.4g}, at most {high:.4g}, ratio {ratio:.3f}"
        self._bar.update(self._task, completed=done, ends=text)

    def passed(self, share: float) -> None:
        """This share of what backward passes may cost is spent."""
        self._bar.update(self._task, completed=share, ends=f"backward passes: {share:.0%} of their cost")


@contextmanager
def ends() -> Iterator[Ends]:
    """The bar, which goes when it is left; silence off a terminal."""
    columns = TextColumn("certifying"), BarColumn(), TextColumn("{task.fields[ends]}"), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        yield Ends(bar)


@contextmanager
def share(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of what is done of all; silence off a terminal."""
    if not err.is_terminal:
        yield lambda _done, _count: None
        return
    columns = TextColumn(escape(what)), BarColumn(), TextColumn("{task.fields[of]}"), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None, of="")
        yield lambda done, count: bar.update(
            task, completed=done, total=count, of=f"{done} of {count} leaves"
        )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: int = 1) -> None:
    table = Table(title=escape(title), title_justify="left", show_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i >= right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def show_json(data: Any) -> None:
    """One JSON object on standard output."""
    out.print(json.dumps(data, indent=2), markup=False)


def show_mapping(data: Mapping[str, Any], as_json: bool) -> None:
    """Plain facts, a line each."""
    if as_json:
        show_json(data)
        return
    for key, value in data.items():
        out.print(f"{escape(key.replace('_', ' '))}: {escape(str(value))}")


def show_tools(rows: Sequence[Row], as_json: bool) -> None:
    """The doctor's table."""
    if as_json:
        show_json([asdict(row) for row in rows])
        return
    cells = [(r.tool, r.version or "missing", r.purpose, "" if r.path else r.install) for r in rows]
    _table("tools", ("tool", "version", "what for", "install with"), cells, right=9)


def show_inspection(found: Mapping[str, Any], as_json: bool) -> None:
    """Nodes of a model, and what the plan needs."""
    if as_json:
        show_json(found)
        return
    columns = {"activation B": "activation_bytes", "MACs": "macs", "parameters": "parameters"}
    rows = [
        (
            *(n["name"], n["op"], "x".join(map(str, n["shape"]))),
            *(n[key] for key in columns.values()),
            n["weights"],
        )
        for n in found["nodes"]
    ]
    kind = "quantised" if found["quantised"] else "float"
    kind += ", all scales powers of two" if found["power_of_two_scales"] else ""
    _table(
        f"{found['name']}: {kind}, {found['macs']} MACs, {found['parameters']} parameters",
        ("node", "op", "output", *columns, "weights"),
        rows,
        right=2,
    )
    if "layers" not in found:
        out.print(escape(found["note"]))
        return
    keys = (
        *("name", "kernel", "predicted_instructions", "runner_up", "runner_up_instructions"),
        *("code", "weight_bytes", "ram_bytes"),
    )
    _table(
        "as compiled with int8 weights" + (" over the box -1,1 (no scales in the file)" * found["estimated"]),
        ("layer", "kernel", "instructions", "or", "instructions", "code", "weights B", "RAM B"),
        [tuple("" if x[key] is None else x[key] for key in keys) for x in found["layers"]],
        right=2,
    )
    out.print(
        f"RAM {found['ram_bytes']} B, with input and output {found['ram_total_bytes']} B, "
        f"with --buffers arena {found['ram_buffers_arena_bytes']} B; "
        f"weights {found['weight_bytes']} B"
    )
    for name, key in (
        ("activations per parameter", "activations_per_parameter"),
        ("footprint (weights and RAM) per byte of weights", "footprint_per_model_byte"),
    ):
        if found[key] is not None:
            out.print(f"{name}: {found[key]:.3f}")
    for board, cost in found["boards"].items():
        if cost["flash_bytes"] is None:
            out.print(f"{board}: weights {found['weight_bytes']} B, code not known: {escape(cost['note'])}")
        else:
            out.print(
                f"{board}: flash {cost['flash_bytes']} B, of it code {cost['code_bytes']} B; "
                f"stack {cost['stack_bytes']} B"
            )


def show_report(report: Mapping[str, Any], folder: Path, as_json: bool) -> None:
    """Flash, RAM, layers, bounds."""
    if as_json:
        show_json(report)
        return
    rows = [
        (
            x["name"],
            x["op"],
            x["code"],
            "x".join(map(str, x["shape"])),
            x["macs"],
            x["flash_bytes"],
            x["ram_bytes"],
            ", ".join(
                [
                    *(str(n) for n in x.get("instructions", {}).values()),
                    *(f"{n} cycles" for n in x.get("cycles", {}).values()),
                ]
            ),
        )
        for x in report["layers"]
    ]
    columns = ("layer", "op", "code", "output", "MACs", "flash B", "RAM B", "instructions")
    _table(f"{folder}: {report['name']}", columns, rows, right=4)
    sizes = ", ".join(f"{what} {report[key]} B" for what, key in SIZES if report.get(key) is not None)
    if report["core"] == "avr" and report["flash_bytes"] is not None:  # measured: constants lie in RAM there
        sizes = sizes.replace("RAM: arena", "RAM: arena and constants")
    out.print(f"{report['core']}: {sizes}")
    if "note" in report:
        out.print(escape(report["note"]))
    if report.get("rounded_weights"):
        out.print(escape(f"weights rounded, not the file's integers: {', '.join(report['rounded_weights'])}"))
    for core, count in report["instructions"].items():
        out.print(f"{core}: {count} instructions, counted by: {report['counted_by'][core]}")
    for core, timed in report.get("cycles", {}).items():
        each = ", ".join(f"{n} cycles ({what})" for what, n in timed["cycles"].items())
        out.print(escape(f"{core}: {each}; {timed['model']}"))
    if "certificate" in report:
        for name, ends in report["certificate"]["outputs"].items():
            _bounds(name, ends)
        if report["certificate"]["method"] == "interval":
            out.print("by intervals alone, as the network is large: tinybound certify is closer, and slower")


def _bounds(name: str, ends: Mapping[str, Any]) -> None:
    top, least = max(ends["bound"]), max(ends["attack"])
    ratio = f", ratio {top / least:.2f}" if least > 0 else ""
    what = escape(name)
    if "probability_bound" in ends:
        out.print(f"{what}: certified at most {ends['probability_bound']:.6g} from the float network")
        what = f"logits of {what}"
    elif "argmax" in ends:
        out.print(f"{what}: what it chooses is at most {2 * top:.6g} below the float network's largest")
        what = f"what {what} compares"
    out.print(
        f"{what}: certified at most {top:.6g} from the float network, found at least {least:.6g}{ratio}"
    )


def show_certificate(certificate: Certificate, as_json: bool) -> None:
    """Both ends per output, and what each domain alone proves."""
    if as_json:
        show_json(certificate.document())
        return
    rows, outputs = [], certificate.outputs_json()
    kinds = [kind for kind in KINDS if all(kind in entry["domains"] for entry in outputs.values())]
    hurried = "" if kinds == list(KINDS) else ", by intervals alone: for more there was no time"
    for name, entry in outputs.items():
        for i, (bound, attack) in enumerate(zip(entry["bound"], entry["attack"], strict=True)):
            alone = [f"{entry['domains'][kind][i]:.6g}" for kind in kinds]
            ratio = f"{bound / attack:.2f}" if attack > 0 else ""
            rows.append((f"{name}[{i}]", f"{attack:.6g}", f"{bound:.6g}", ratio, *alone))
    _table(
        f"certified in {certificate.seconds:.1f} s{hurried}",
        ("output", "found at least", "certified at most", "ratio", *(f"{kind} alone" for kind in kinds)),
        rows,
    )
    if "objective" in certificate.fields:
        said = {key: _short(value) for key, value in certificate.fields["objective"].items()}
        out.print("objective: found at least {attack}, in {lower} ... {upper}".format(**said))
    cells = [
        (
            layer["node"],
            " ... ".join(map(str, layer.get("range", ()))),
            layer.get("bits", ""),
            " ... ".join(map(str, layer.get("range_in_domain", ()))),
            _few(layer.get("saturates", ())),
        )
        for layer in certificate.fields["layers"]
        if "range" in layer or layer.get("saturates")
    ]
    _table("", ("layer", "sums, whatever the input", "bits", "sums in the box", "can saturate"), cells)


def show_answer(found: Mapping[str, Any], as_json: bool) -> None:
    """What certify was asked: facts, a line each, under a table of rows where there are several."""
    if as_json:
        show_json(found)
        return
    rows = found.get("rows", [])
    if rows:
        cells = [["" if row[key] is None else _short(row[key]) for key in rows[0]] for row in rows]
        _table("", [key.replace("_", " ") for key in rows[0]], cells)
    show_mapping({key: _short(value) for key, value in found.items() if key != "rows"}, as_json)


def _few(neurons: Sequence[int]) -> str:
    """How many, and the first ones."""
    if not neurons:
        return ""
    return f"{len(neurons)}: {', '.join(map(str, neurons[:8]))}{' ...' if len(neurons) > 8 else ''}"


def _short(value: Any) -> str:
    """A number in six digits; yes or no; that there is an input, not the input."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "see --json"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def show_verdict(verdict: Verdict, as_json: bool) -> None:
    """Stage by layer, then the bound."""
    if as_json:
        show_json(verdict.to_json())
        return
    stages = [(name, stage) for name, stage in verdict.stages.items() if stage.layers]
    most = sorted((stage.layers for _, stage in stages), key=len, reverse=True)
    layers = dict.fromkeys(layer.layer for each in most for layer in each)
    found = {
        (name, layer.layer): f"{layer.mismatches} of {layer.elements}"
        for name, stage in stages
        for layer in stage.layers
    }
    rows = [(layer, *(found.get((name, layer), "") for name, _ in stages)) for layer in layers]
    _table(
        f"mismatches against the golden model, {verdict.vectors} vectors",
        ("layer", *(name for name, _ in stages)),
        rows,
    )
    for name, stage in stages:
        if stage.first is not None:
            d = stage.first
            out.print(
                f"{name}: first difference in {escape(d.layer)}, vector {d.vector}, index {list(d.index)}: "
                f"expected {d.expected}, found {d.found}"
            )
    seen = verdict.bound
    bound = (
        "no certificate"
        if seen.bound is None
        else f"certified at most {seen.bound:.6g}, {seen.violations} violations"
    )
    out.print(
        f"float network: largest difference seen {seen.max_seen:.6g} on {seen.inside} inputs in the domain "
        f"({seen.outside} outside), {bound}"
    )
