# SPDX-License-Identifier: Apache-2.0
"""What every machine that runs the generated C has in common: how it is built, fed and read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError, PromiseError, TinyboundError, ToolMissing
from ..tools import Completed, last_lines, run
from .boards import Board

FIRMWARE = Path(str(files("tinybound.firmware")))

STACK = 512  # bytes of RAM that must be left where it is scarce

# The promise about generated C. The hand-written driver and start-up files keep it too.
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-pedantic")

Bytes = NDArray[np.int8] | NDArray[np.uint8]


@dataclass(frozen=True)
class Result:
    """What a machine computed for n vectors.

    outputs       (n, OUTPUT_SIZE) int8: the output buffer as it is; of a uint8 network: .view(numpy.uint8)
    traces        layer -> (n, bytes) uint8: each layer's output in memory order; {} unless built to trace
    instructions  one count per marked region, in the order executed; None unless built to count
    counted_by    what counted them
    note          what else the machine said
    """

    outputs: NDArray[np.int8]
    traces: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    instructions: tuple[int, ...] | None = None
    counted_by: str = ""
    note: str = ""


class Machine(Protocol):
    """Builds a generated network with the common driver and runs vectors through it."""

    @property
    def name(self) -> str: ...

    def build(
        self, c_dir: Path, name: str, work: Path, *, trace: bool = False, defines: Sequence[str] = ()
    ) -> Path:
        """Compile c_dir/NAME.c with the driver into `work`; `defines` are further macros, "X" or "X=1"."""
        ...

    def run(self, program: Path, inputs: Bytes, bits: int, work: Path) -> Result:
        """Run n vectors, inputs (n, INPUT_SIZE). PromiseError when the program fails or does not end."""
        ...


def network_arguments(c_dir: Path, name: str, defines: Sequence[str]) -> list[str]:
    """Compiler arguments that tell the driver the network's names, and everyone where the headers are.

    `defines` come last and replace what they repeat. A network of several inputs or outputs needs
    TB_INPUT_SIZE, TB_OUTPUT_SIZE (all in one buffer) and TB_CALL(in,out), its call with pointers into them.
    """
    header = c_dir / f"{name}.h"
    macros = [
        f'TB_HEADER="{name}.h"',
        f"TB_RUN={name}_run",
        f"TB_INPUT_T={name}_input_t",
        f"TB_OUTPUT_T={name}_output_t",
        *(f"TB_{what}_SIZE={name}_{what}_SIZE" for what in ("INPUT", "OUTPUT", "ARENA")),
    ]
    if re.search(rf"^\s*#\s*define\s+{name}_HAS_BITS\b", header.read_text(), re.MULTILINE):
        macros.append(f"TB_RUN_BITS={name}_run_bits")
    replaced = {re.split(r"[(=]", macro)[0] for macro in defines}
    macros = [macro for macro in macros if macro.partition("=")[0] not in replaced]
    return [f"-I{c_dir}", f"-I{FIRMWARE}", *(f"-D{macro}" for macro in (*macros, *defines))]


def sources(
    c_dir: Path, name: str, platform: Sequence[str], *, trace: bool, count: Sequence[str] = ()
) -> list[Path]:
    """The network first: the memory after its arena then belongs to other objects, for trace.c to compare.

    count: the files of the markers; none: nothing is counted.
    """
    parts = ["driver.c", "tb_text.c", *platform, *(count or (["trace.c"] if trace else []))]
    return [c_dir / f"{name}.c", *(FIRMWARE / part for part in parts)]


def build_for(board: Board, name: str, argv: Sequence[str | Path]) -> None:
    """Run the board's compiler on a network; CompileError where an AVR has too little memory."""
    try:
        run([board.compiler, *board.flags, *STRICT, "-O2", "-ffunction-sections", "-fdata-sections", *argv])
    except TinyboundError as error:
        if board.ram is not None and "too large" in error.found:
            hold_ram(board, name, 1 << 15)  # a single array of more
        raise


def hold_ram(board: Board, name: str, used: int, stack: int = 0) -> None:
    """CompileError when a board that has constants in RAM has too little: some is left for the stack."""
    least = max(STACK, stack)
    if board.ram is not None and used + least > board.ram:
        raise CompileError(
            name,
            f"{used} bytes of constants and variables, all in the RAM of an {board.machine[1]}",
            f"at most {board.ram - least}, with {least} for the stack",
            "a smaller network",
        )


def write_vectors(folder: Path, inputs: Bytes, bits: int) -> None:
    """in.bin: number of vectors, bits, vectors."""
    if inputs.ndim != 2 or inputs.dtype.itemsize != 1:
        raise CompileError(
            "inputs", f"{inputs.dtype} of shape {inputs.shape}", "int8 or uint8 of shape (n, size)"
        )
    header = np.array([len(inputs), bits], dtype="<u4").tobytes()
    (folder / "in.bin").write_bytes(header + np.ascontiguousarray(inputs).tobytes())


def start(where: str, argv: Sequence[str | Path], folder: Path, timeout: float) -> Completed:
    """Run the program in the folder of its files, for judge() to read. A time-out is a PromiseError."""
    try:
        return run(argv, cwd=folder, timeout=timeout, ok=None)
    except ToolMissing:
        raise
    except TinyboundError as error:
        raise PromiseError(where, error.found, error.expected, error.remedy) from error


def judge(where: str, done: Completed) -> None:
    """Exit codes of firmware/tb_io.h: 2 is bad input, every other but 0 means that the network misbehaved."""
    if done.code == 2:
        raise CompileError(where, last_lines(done.stderr), "vectors of the network's input size")
    if done.code != 0:
        raise PromiseError(
            where, f"{last_lines(done.stderr)} (exit code {done.code})", "a run without faults"
        )


def read_outputs(folder: Path, n: int) -> NDArray[np.int8]:
    """out.bin -> (n, OUTPUT_SIZE)."""
    data = np.fromfile(folder / "out.bin", dtype=np.int8)
    return data.reshape(n, -1) if n else data.reshape(0, 0)


def read_traces(folder: Path, n: int) -> dict[int, NDArray[np.uint8]]:
    """trace.bin -> layer: (n, bytes). Every vector's record has the same layers in the same order.

    A layer that runs row by row has a record per row: they are put together.
    """
    path = folder / "trace.bin"
    if n == 0 or not path.exists():
        return {}
    records = np.fromfile(path, dtype=np.uint8).reshape(n, -1)
    parts: dict[int, list[NDArray[np.uint8]]] = {}
    at = 0
    while at < records.shape[1]:
        head = records[:, at : at + 8]
        layer, size = (int(word) for word in head[0].view("<u4"))
        if (head != head[0]).any():
            raise PromiseError("trace", f"layer {layer} changes size", "the same bytes for every vector")
        parts.setdefault(layer, []).append(records[:, at + 8 : at + 8 + size])
        at += 8 + size
    return {layer: np.concatenate(rows, axis=1) for layer, rows in parts.items()}
