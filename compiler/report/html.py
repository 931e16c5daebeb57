# SPDX-License-Identifier: Apache-2.0
"""report.html: the report as one page without scripts, styles or images from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..targets.render import render
from .picture import picture


def bars(values: list[float]) -> list[float]:
    """Widths in percent, the largest 100."""
    top = max(values, default=0) or 1
    return [100 * value / top for value in values]


def render_report(report: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> str:
    """The page for a report, with the table of a verification when there is one."""
    return render("report.html.j2", report=report, verdict=verdict, bars=bars, picture=picture)
