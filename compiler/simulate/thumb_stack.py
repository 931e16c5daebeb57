# SPDX-License-Identifier: Apache-2.0
"""Bytes that functions of a Thumb object push on the stack, read from their code.

Compilers know what they push themselves, not what the assembly of a kernel does. Every push counts and no
pop is taken off again, so the number is not too small; loops are taken to pop what they push.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile


def pushed(item: Path) -> dict[str, int]:
    """Function -> bytes by which its pushes and subtractions of constants lower the stack pointer."""
    found: dict[str, int] = {}
    with item.open("rb") as stream:
        elf: Any = ELFFile(stream)
        symbols = list(elf.get_section_by_name(".symtab").iter_symbols())
        marks: dict[int, list[tuple[int, str]]] = {}  # where code ($t) and data ($d) begin
        for symbol in symbols:
            if symbol.name[:2] in ("$t", "$d") and isinstance(symbol["st_shndx"], int):
                marks.setdefault(symbol["st_shndx"], []).append((symbol["st_value"], symbol.name[:2]))
        for symbol in symbols:
            place = symbol["st_shndx"]
            if symbol["st_info"]["type"] != "STT_FUNC" or not isinstance(place, int):
                continue
            first = symbol["st_value"] & ~1
            last = first + symbol["st_size"]
            code, bounds = elf.get_section(place).data(), sorted([*marks[place], (last, "")])
            found[symbol.name] = sum(
                _sum(code[max(low, first) : min(high, last)])
                for (low, kind), (high, _) in pairwise(bounds)
                if kind == "$t" and low < last and high > first
            )
    return found


def _sum(code: bytes) -> int:
    """Over instructions that follow each other."""
    words = [int.from_bytes(code[i : i + 2], "little") for i in range(0, len(code) - 1, 2)]
    total, i = 0, 0
    while i < len(words):
        long = words[i] >> 11 in (0b11101, 0b11110, 0b11111)
        total += _long(words[i], words[i + 1]) if long else _short(words[i])
        i += 1 + long
    return total


def _short(word: int) -> int:
    if word & 0xFE00 == 0xB400:  # PUSH
        return 4 * (word & 0x1FF).bit_count()
    return 4 * (word & 0x7F) if word & 0xFF80 == 0xB080 else 0  # SUB SP, SP, #n


def _long(word: int, more: int) -> int:
    if word == 0xE92D:  # PUSH
        return 4 * more.bit_count()
    if word == 0xF84D and more & 0xF00 == 0xD00:  # STR [SP, #-n]!
        return more & 0xFF
    if word in (0xE96D, 0xED2D):  # STRD [SP, #-n]!, VPUSH
        return 4 * (more & 0xFF)
    if word & ~0x400 in (0xF1AD, 0xF2AD) and more & 0x8F00 == 0x0D00:  # SUB SP, SP, #n
        number = (word >> 10 & 1) << 11 | (more >> 12 & 7) << 8 | more & 0xFF
        return number if word & 0x200 else _expanded(number)
    return 0


def _expanded(number: int) -> int:
    """The constant that twelve bits stand for."""
    byte, kind = number & 0xFF, number >> 8
    if number < 1 << 10:
        return (byte, byte * 0x00010001, byte * 0x01000100, byte * 0x01010101)[kind]
    turn = number >> 7
    return (0x80 | number & 0x7F) << (32 - turn)
