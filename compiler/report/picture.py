# SPDX-License-Identifier: Apache-2.0
"""The picture of where a bound comes from: a bar per layer, a colour per source, as one SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

COLOURS = {
    "tables": "#8a8f98",
    "input rounding": "#3b7dd8",
    "weights": "#e0922f",
    "activation rounding": "#4aa564",
    "saturation": "#b42318",
    "cleared bits": "#8457c2",
}
ROW, NAMES, BARS, LEGEND = 22, 170, 520, 150  # pixels


def picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of certify/shares.py; what a source takes away (relaxations are not monotone) is not drawn."""
    layers: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        layers.setdefault(row["layer"] or row["source"], []).append(row)
    widest = max((sum(max(r["share"], 0.0) for r in each) for each in layers.values()), default=0.0) or 1.0
    parts = []
    for i, (layer, each) in enumerate(layers.items()):
        y, x = ROW * i, float(NAMES)
        parts.append(_text(NAMES - 8, y, layer, "end"))
        for row in each:
            width = BARS * max(row["share"], 0.0) / widest
            what = f"{layer}, {row['source']}: {row['adds']:.4g} ({100 * row['share']:.1f} %)"
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="14" '
                f'fill="{COLOURS[row["source"]]}"><title>{escape(what)}</title></rect>'
            )
            x += width
        total = sum(row["share"] for row in each)
        parts.append(_text(x + 6, y, f"{100 * total:.1f} %", "start"))
    y = ROW * len(layers) + 8
    for i, kind in enumerate(dict.fromkeys(row["source"] for row in rows)):
        parts.append(
            f'<rect x="{NAMES + LEGEND * i}" y="{y + 4}" width="14" height="14" fill="{COLOURS[kind]}"/>'
        )
        parts.append(_text(NAMES + LEGEND * i + 20, y, kind, "start"))
    wide, high = NAMES + BARS + 240, y + ROW + 4
    return (
        f'<svg viewBox="0 0 {wide} {high}" width="100%" role="img" font-size="12" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, what: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y + 15}" text-anchor="{anchor}">{escape(what)}</text>'
