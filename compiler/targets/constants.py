# SPDX-License-Identifier: Apache-2.0
"""Bytes of constant data per layer, read from the generated C itself: no second list that could differ."""

from __future__ import annotations

import re

# One array at file scope, as the templates write it: static const TYPE NAME[...] = { NUMBERS };
_ARRAY = re.compile(r"^static const u?int(8|16|32|64)_t (\w+)\[\d*\] = \{([^}]*)\};", re.MULTILINE)
# What network.c.j2 leaves out on other cores; no array of a layer's own stands in such a place.
_FOR_DSP = re.compile(r"^#ifdef TB_DSP\n.*?^#else\n", re.MULTILINE | re.DOTALL)


def constant_arrays(text: str, dsp: bool) -> dict[str, int]:
    """Name -> bytes of every constant array of a generated NAME.c; dsp: on a core with these instructions."""
    return {
        name: int(bits) // 8 * len([word for word in numbers.split(",") if word.strip()])
        for bits, name, numbers in _ARRAY.findall(text if dsp else _FOR_DSP.sub("", text))
    }


def layer_of(array: str) -> int | None:
    """The step whose array it is: names of a step's constants end with its index."""
    digits = re.search(r"\d+$", array)
    return int(digits[0]) if digits else None


def weight_bytes(text: str, dsp: bool) -> tuple[dict[int, int], int]:
    """Bytes of constant arrays by step index, and of all steps and what they share together."""
    arrays = constant_arrays(text, dsp)
    layers: dict[int, int] = {}
    for name, size in arrays.items():
        index = layer_of(name)
        if index is not None:
            layers[index] = layers.get(index, 0) + size
    return layers, sum(arrays.values())
