# SPDX-License-Identifier: Apache-2.0
"""What a generated network costs on a board in flash, RAM and stack, read from the compiler's own output."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from ..errors import CompileError
from ..tools import run
from . import avr_stack
from .boards import Board
from .machine import FIRMWARE, build_for, hold_ram
from .relocations import references
from .thumb_stack import pushed


@dataclass(frozen=True)
class Footprint:
    """Bytes. Of NAME.c alone, but for library_bytes.

    flash_bytes    code_bytes + weight_bytes + initial values of variables
    weight_bytes   constant data
    code_bytes     instructions and the constants among them
    ram_bytes      variables: the arena; on an AVR also the constants
    stack_bytes    deepest chain of calls from NAME_run, without the functions in `outside`
    library_bytes  compiler and C library functions that it needs (most firmware has them anyway)
    outside        called functions whose stack the compiler does not tell: library functions
    frames         bytes of stack of each function, NAME_run and the kernels that were not put into it
    """

    flash_bytes: int
    code_bytes: int
    weight_bytes: int
    ram_bytes: int
    stack_bytes: int
    library_bytes: int
    outside: tuple[str, ...]
    frames: dict[str, int]


def footprint(board: Board, c_dir: Path, name: str, work: Path) -> Footprint:
    """Compile c_dir/NAME.c for the board as it ships, into `work`, and measure."""
    work.mkdir(parents=True, exist_ok=True)
    item = work.absolute() / f"{name}-{board.name}.o"
    graph = "-fcallgraph-info=su" if board.ram is None else "-fstack-usage"
    source = c_dir / f"{name}.c"
    build_for(board, name, [f"-I{c_dir}", f"-I{FIRMWARE}", graph, "-c", source, "-o", item])
    code, constants, variables, zeroed = _sections(item)
    if board.ram is not None:
        flash, ram = code + constants + variables, constants + variables + zeroed
        frames = avr_stack.frames(item.with_suffix(".su").read_text())
        stack, outside = deepest(f"{name}_run", frames, avr_stack.calls(item))
        hold_ram(board, name, ram, stack)
        return Footprint(flash, code, constants, ram, stack, 0, outside, frames)
    calls = item.with_suffix(".ci").read_text()
    lowered = pushed(item) if "-mthumb" in board.flags else {}
    addressed = {each.target for each in references(item) if each.address}
    stack, outside = worst_stack(calls, f"{name}_run", lowered, addressed)
    return Footprint(
        flash_bytes=code + constants + variables,
        code_bytes=code,
        weight_bytes=constants,
        ram_bytes=variables + zeroed,
        stack_bytes=stack,
        library_bytes=_library(board, item, f"{name}_run") - code - constants if _needs(item) else 0,
        outside=outside,
        frames=stack_frames(calls, lowered),
    )


def _sections(path: Path) -> tuple[int, int, int, int]:
    """Bytes of code, constants, variables with initial values and variables that start as zero."""
    code = constants = variables = zeroed = 0
    with path.open("rb") as stream:
        for section in ELFFile(stream).iter_sections():
            flags, size = section["sh_flags"], section["sh_size"]
            if not flags & SH_FLAGS.SHF_ALLOC:
                continue
            if flags & SH_FLAGS.SHF_EXECINSTR:
                code += size
            elif section["sh_type"] == "SHT_NOBITS":
                zeroed += size
            elif flags & SH_FLAGS.SHF_WRITE:
                variables += size
            else:
                constants += size
    return code, constants, variables, zeroed


def _needs(path: Path) -> bool:
    """Whether the object calls anything that is defined elsewhere."""
    with path.open("rb") as stream:
        symbols: Any = ELFFile(stream).get_section_by_name(".symtab")
        return any(symbol.name and symbol["st_shndx"] == "SHN_UNDEF" for symbol in symbols.iter_symbols())


def _library(board: Board, item: Path, entry: str) -> int:
    """Bytes of code and constants once linked with the libraries; includes a few bytes of alignment."""
    linked = item.with_suffix(".elf")
    script = FIRMWARE / board.linker_script
    whole = f"-Wl,-e,{entry},--no-gc-sections"
    run([board.compiler, *board.flags, "-nostartfiles", item, "-T", script, whole, "-o", linked])
    code, constants, _, _ = _sections(linked)
    return code + constants


_NODE = re.compile(r'node: \{ title: "([^"]*)" label: "([^"]*)"')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"')
_INDIRECT = "__indirect_call"  # the node of all that is called by an address
_SIZE = re.compile(r"(\d+) bytes \((static|dynamic,bounded|dynamic)\)")


def stack_frames(graph: str, lowered: Mapping[str, int]) -> dict[str, int]:
    """Bytes of stack by name of function, of those that are in the object."""
    return {label.split("\\n")[0]: size for _, label, size in _frames(graph, lowered)}


def _frames(graph: str, lowered: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    """(title, label, bytes) of every function whose frame the compiler tells; lowered: least, by its code."""
    for title, label in _NODE.findall(graph):
        size = _SIZE.search(label)
        if size:
            if size[2] == "dynamic":
                raise CompileError(title, "a stack frame without a bound", "frames of fixed size")
            yield title, label, max(int(size[1]), lowered.get(title.rpartition(":")[2], 0))


def worst_stack(
    graph: str, start: str, lowered: Mapping[str, int], addressed: Collection[str] = ()
) -> tuple[int, tuple[str, ...]]:
    """Worst stack below `start`, in bytes, and the functions of unknown stack; graph: -fcallgraph-info=su.

    lowered: bytes that the code of a function pushes, which a compiler does not know of assembly; addressed:
    functions that may be called by their address.

    Refuses recursion, frames without a bound and calls by an address that no function here has: generated
    code has none of them.
    """
    frames = {title: size for title, _, size in _frames(graph, lowered)}
    calls: dict[str, list[str]] = {}
    for source, target in _EDGE.findall(graph):
        calls.setdefault(source, []).append(target)
    anyone = [title for title in frames if title.rpartition(":")[2] in addressed]
    if anyone:
        frames[_INDIRECT] = 0
        calls[_INDIRECT] = anyone
    stack, outside = deepest(start, frames, calls)
    if _INDIRECT in outside:
        raise CompileError(start, "a call by an address that no function here has", "calls of known stack")
    return stack, outside


def deepest(
    start: str, frames: Mapping[str, int], calls: Mapping[str, list[str]]
) -> tuple[int, tuple[str, ...]]:
    """Bytes of the deepest chain of calls, and the functions in such chains that have no frame here."""
    outside: set[str] = set()
    depth = _depth(start, frames, calls, {}, outside)
    return depth, tuple(sorted(outside))


def _depth(
    function: str,
    frames: Mapping[str, int],
    calls: Mapping[str, list[str]],
    known: dict[str, int | None],
    outside: set[str],
) -> int:
    """known: finished functions, and None for those being walked."""
    if function not in frames:
        outside.add(function)
        return 0
    if function not in known:
        known[function] = None
        below = [_depth(callee, frames, calls, known, outside) for callee in calls.get(function, ())]
        known[function] = frames[function] + max(below, default=0)
    depth = known[function]
    if depth is None:
        raise CompileError(function, "calls itself", "no recursion, so that the stack has a bound")
    return depth
