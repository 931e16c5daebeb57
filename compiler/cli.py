# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments to one call each."""

from __future__ import annotations

import json
import os
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from . import __version__, terminal
from . import cli_options as options
from .errors import CompileError, PromiseError, TinyboundError

if TYPE_CHECKING:
    from .simulate.cycles import Flash

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
INTERRUPTED = 130
TRACEBACK = "TINYBOUND_TRACEBACK"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
BuildPath = Annotated[Path, typer.Argument(metavar="BUILD", help="A folder made by tinybound compile.")]
Domain = Annotated[str | None, typer.Option(metavar="BOX", help="LO,HI, or a .json, .npz or .vnnlib file.")]
WaitStates = Annotated[
    int | None, typer.Option(help="Model cycles too: flash wait states, 0 to 5. Cortex-M4 and M0+.")
]
LineBytes = Annotated[int | None, typer.Option(help="Bytes that flash gives at a time: 16 if not told.")]
CacheLines = Annotated[int | None, typer.Option(help="Such lines that are kept: 1 if not told.")]
MaxError = Annotated[str | None, typer.Option(metavar="E", help="Refuse when the certified error is larger.")]


def _number(text: str | None) -> Fraction | None:
    """The double nearest to the digits: a bound is one too, so a bound as printed is a budget that holds."""
    try:
        return None if text is None else Fraction(float(text))
    except (ValueError, OverflowError) as error:
        raise CompileError("--max-error", f"{text!r}", "a number such as 0.05") from error


def _flash(wait_states: int | None, line_bytes: int | None, cache_lines: int | None) -> Flash | None:
    """What the options say of flash; None without --wait-states, which the others need."""
    from .simulate.cycles import Flash

    if wait_states is not None:
        given = {"line_bytes": line_bytes, "lines": cache_lines}
        return Flash(wait_states, **{name: number for name, number in given.items() if number is not None})
    for option, number in (("--line-bytes", line_bytes), ("--cache-lines", cache_lines)):
        if number is not None:
            raise CompileError(option, "no cycles are modelled", "--wait-states beside it")
    return None


@app.command()
def doctor(as_json: Json = False) -> None:
    """Name every external tool, its version, what it is for, and how to install a missing one."""
    from .doctor import rows

    found = rows()
    terminal.show_tools(found, as_json)
    if any(row.path is None for row in found):
        raise typer.Exit(3)


@app.command()
def inspect(model: Path, as_json: Json = False) -> None:
    """List ops, shapes, MACs and parameters, and everything unsupported at once."""
    from .inspect_model import inspect_model

    terminal.show_inspection(inspect_model(model), as_json)


@app.command()
def compile(  # noqa: A001 -- the verb
    model: Path,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="BUILD", help="Folder to write.")] = Path(
        "BUILD"
    ),
    target: Annotated[str, typer.Option(help="c, verilog or all.")] = "all",
    core: Annotated[
        str, typer.Option(help="Core that kernels are chosen and flash and stack measured for.")
    ] = "cortex-m4",
    optimise: Annotated[str, typer.Option(help="Kernels for speed, or for size.")] = "speed",
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="[NODE=]CODE", help="int8, int4, pot4 or pool64; for one node with NODE=CODE."),
    ] = None,
    activations: Annotated[
        int, typer.Option(metavar="BITS", help="8 or 16: of values that the model does not quantise.")
    ] = 8,
    scales: Annotated[str, typer.Option(help="any, or pow2 for powers of two only.")] = "any",
    requant: Annotated[str, typer.Option(help="Rounding: onnx, tflite-single or tflite-double.")] = "onnx",
    buffers: Annotated[
        str, typer.Option(help="Input and output: the caller's, or in the arena, where they share memory.")
    ] = "caller",
    calibration: Annotated[Path | None, typer.Option(metavar="X.npz", help="Typical inputs.")] = None,
    domain: Domain = None,
    data_free: Annotated[
        bool, typer.Option("--data-free", help="Ranges that the domain implies; no samples, no saturation.")
    ] = False,
    reference: Annotated[
        Path | None, typer.Option(metavar="FLOAT.onnx", help="Float twin of a quantised model.")
    ] = None,
    max_error: MaxError = None,
    max_flash: Annotated[int | None, typer.Option(metavar="BYTES")] = None,
    max_ram: Annotated[int | None, typer.Option(metavar="BYTES")] = None,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Compile MODEL into a BUILD folder: C, Verilog, golden vectors, certificate, report."""
    from .build import Options
    from .build import compile as compile_model

    options = Options(
        target=target,
        core=core,
        optimise=optimise,
        weights=tuple(weights or ["int8"]),
        activations=activations,
        scales=scales,
        requant=requant,
        buffers=buffers,
        calibration=calibration,
        domain=domain,
        data_free=data_free,
        reference=reference,
        max_error=_number(max_error),
        max_flash=max_flash,
        max_ram=max_ram,
        seed=seed,
    )
    with terminal.busy(f"compiling {model.name}"):
        build = compile_model(model, output, options)
    terminal.show_report(build.report, output, as_json)


@app.command()
def simulate(
    build: BuildPath,
    inputs: Annotated[
        Path, typer.Option(metavar="X.npz", help="One array per graph input, real or NAME__q.")
    ],
    output: Annotated[Path, typer.Option(metavar="Y.npz")] = Path("Y.npz"),
    on: Annotated[str, typer.Option(help="golden, host, rtl, cortex-m4 ...")] = "golden",
    bits: Annotated[int, typer.Option(help="Run-time activation bits of weight-pool layers.")] = 8,
    wait_states: WaitStates = None,
    line_bytes: LineBytes = None,
    cache_lines: CacheLines = None,
    as_json: Json = False,
) -> None:
    """Run inputs through one executor and write outputs, real and integer."""
    from .runs import simulate_files

    flash = _flash(wait_states, line_bytes, cache_lines)
    with terminal.busy(f"running on {on}"):
        summary = simulate_files(build, inputs, output, on, bits, flash)
    terminal.show_mapping(summary, as_json)


@app.command()
def verify(
    build: BuildPath,
    on: Annotated[str, typer.Option(help="Executors, comma-separated, or all.")] = "all",
    inputs: Annotated[
        Path | None, typer.Option(metavar="X.npz", help="Without it: the build's own vectors.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare every executor with the golden model, layer by layer, and the bound with what is seen."""
    from .runs import verify_build

    with terminal.stages() as progress:
        verdict = verify_build(build, on, inputs, progress)
    terminal.show_verdict(verdict, as_json)
    if not verdict.ok:
        raise typer.Exit(1)


@app.command()
def certify(
    build: BuildPath,
    domain: Domain = None,
    around: options.Around = None,
    index: options.Index = 0,
    radius: options.Radius = None,
    inputs: options.Inputs = None,
    margin: options.Margin = False,
    objective: options.Objective = None,
    max_box: options.MaxBox = None,
    shares: options.Shares = False,
    reference: options.Reference = None,
    export: options.Export = None,
    jobs: options.Jobs = None,
    cluster: options.Cluster = None,
    bits: Annotated[int, typer.Option(help="Run-time activation bits; fewer than 8: shown, not kept.")] = 8,
    grid: options.Grid = False,
    arithmetic: options.Arithmetic = "real",
    timeout: options.Timeout = None,
    max_error: MaxError = None,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Certify over a box and rewrite certificate, C header and manifest together; or answer a question
    (--inputs, --margin, --find-max-box, --shares, --reference).

    The box is searched until the bound is 1 % above the largest difference found. Ctrl-C ends that too: the
    best bound so far is kept.
    """
    from .asks import Ask, answer, no_idle_options
    from .runs import certify_build, export_merged

    limit = _number(max_error)
    ask = Ask(
        *(domain, around, index, radius, inputs, margin, objective, max_box, shares, reference),
        *(bits, seed, jobs, cluster, arithmetic),
    )
    no_idle_options(ask, timeout, export, grid, limit)
    if ask.question:
        with terminal.busy("certifying"):
            found = answer(build, ask, timeout)
        terminal.show_answer(found, as_json)
        return
    with terminal.ends() as progress:
        certificate = certify_build(build, ask, timeout, progress, progress.passed, grid=grid)
        if export is not None:
            export_merged(build, certificate, bits, export)
    terminal.show_certificate(certificate, as_json)
    if limit is not None and not certificate.largest <= limit:
        raise PromiseError(
            "--max-error", f"certified error {certificate.largest:.9g}", f"at most {float(limit):.9g}"
        )


@app.command()
def check(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERTIFICATE", help="A certificate, or the build that it lies in.")
    ],
    build: Annotated[
        Path | None, typer.Option(metavar="BUILD", help="The build; by default the folder it lies in.")
    ] = None,
    timeout: options.CheckTimeout = None,
    memory: options.CheckMemory = None,
    as_json: Json = False,
) -> None:
    """Re-check a certificate with the independent checker."""
    from .checker import check_certificate

    given = {"timeout": timeout, "memory": memory}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    for name, limit in limits.items():
        if not 0 < limit < float("inf"):
            raise CompileError(f"--{name}", f"{limit:g}", "a positive number")

    certificate = certificate / "certificate.json" if certificate.is_dir() else certificate
    folder = build or certificate.parent
    for path in (certificate, folder):
        if not path.exists():
            raise CompileError(
                str(path), "no such file", "a certificate in its build", "tinybound certify BUILD"
            )
    with terminal.share("checking") as progress:
        verdict = check_certificate(certificate, folder, progress, **limits)
    terminal.show_mapping(verdict, as_json)
    if not verdict["accepted"]:
        raise PromiseError(str(certificate), f"rejected: {verdict['reason']}", "a certificate that holds")


@app.command()
def firmware(
    build: BuildPath,
    board: Annotated[str, typer.Option(help="A core (cortex-m4) or a machine (mps2-an386).")] = "mps2-an386",
    max_error: MaxError = None,
    wait_states: WaitStates = None,
    line_bytes: LineBytes = None,
    cache_lines: CacheLines = None,
    as_json: Json = False,
) -> None:
    """Build, run and count firmware for an emulated board; refuse above the error budget."""
    from .build import load
    from .firmware_image import board_of, make_firmware

    with terminal.busy(f"building and running on {board}"):
        flash = _flash(wait_states, line_bytes, cache_lines)
        report = make_firmware(load(build), board_of(board), _number(max_error), flash)
    terminal.show_report(report, build, as_json)


@app.command()
def report(build: BuildPath, as_json: Json = False) -> None:
    """Show the report of a build."""
    from .build import load

    terminal.show_report(load(build).report, build, as_json)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tinybound {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Compile an ONNX network to C and Verilog, with a bound on its distance to the float network."""


def main() -> None:
    """Entry point: expected failures become one line (or JSON object) and an exit code, no traceback."""
    as_json = "--json" in sys.argv[1:]
    warnings.simplefilter("ignore")  # a failure is one line on standard error
    try:
        code = int(app(standalone_mode=False) or 0)
        if code == INTERRUPTED:
            _fail(as_json, "interrupted", "", code)
    except KeyboardInterrupt:
        code = _fail(as_json, "interrupted", "", INTERRUPTED)
    except TinyboundError as error:
        code = _fail(as_json, str(error), error.where, error.exit_code, error.details)
    except TyperException as error:
        text = error.format_message()  # empty after --help was shown for want of arguments
        code = _fail(as_json, f"usage: {text}", "usage", 2) if text else 2
    except MemoryError:
        code = _fail(as_json, "memory: not enough; try a smaller model", "memory", 2)
    except OSError as error:
        code = _fail(as_json, f"{error.filename or 'system'}: {error.strerror or error}", "system", 2)
    except Exception as error:  # a mistake of ours: still one line, and the traceback on request
        if TRACEBACK in os.environ:
            raise
        what = f"{type(error).__name__} ({error})"
        line = f"tinybound: {what}; expected no such failure; try {TRACEBACK}=1 and report what it shows"
        code = _fail(as_json, line, "tinybound", 2)
    sys.exit(code)


def _fail(
    as_json: bool, message: str, where: str, code: int, details: dict[str, object] | None = None
) -> int:
    known = {"error": message, "where": where, "exit_code": code, **(details or {})}
    typer.echo(" ".join((json.dumps(known) if as_json else f"error: {message}").split()), err=True)
    return code
