# SPDX-License-Identifier: Apache-2.0
"""Which functions an object file refers to from where, by its relocations: each function has a section of its
own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

# Relocations that make an address, by machine; calls and jumps have others.
ADDRESSES = {
    "EM_ARM": (2, 43, 44, 47, 48),  # ABS32, MOVW and MOVT in both instruction sets
    "EM_RISCV": (1, 23, 26),  # 32, PCREL_HI20, HI20
}


@dataclass(frozen=True)
class Reference:
    """source: the function whose code has it, None outside of code; word: the first two bytes there."""

    source: str | None
    target: str
    address: bool
    word: int


def references(item: Path) -> Iterator[Reference]:
    """To functions of the object and to symbols that are defined elsewhere."""
    with item.open("rb") as stream:
        elf: Any = ELFFile(stream)
        symbols = elf.get_section_by_name(".symtab")
        addresses = ADDRESSES.get(elf["e_machine"], ())
        functions = [
            (symbol["st_shndx"], symbol["st_value"] & ~1, symbol["st_size"], symbol.name)
            for symbol in symbols.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF"
        ]

        def at(section: int, place: int) -> str | None:
            inside = (
                name for home, low, size, name in functions if home == section and 0 <= place - low < size
            )
            return next(inside, None)

        for section in elf.iter_sections():
            if section["sh_type"] not in ("SHT_REL", "SHT_RELA") or ".debug" in section.name:
                continue
            home = section["sh_info"]
            code = elf.get_section(home).data()
            for entry in section.iter_relocations():
                symbol = symbols.get_symbol(entry["r_info_sym"])
                where, place = symbol["st_shndx"], entry["r_offset"]
                value = (
                    symbol["st_value"] & ~1 if symbol["st_info"]["type"] == "STT_FUNC" else symbol["st_value"]
                )
                addend = entry["r_addend"] if section["sh_type"] == "SHT_RELA" else 0
                target = symbol.name if where == "SHN_UNDEF" else at(where, value + addend)
                if target:
                    word = int.from_bytes(code[place : place + 2], "little")
                    yield Reference(at(home, place), target, entry["r_info_type"] in addresses, word)
