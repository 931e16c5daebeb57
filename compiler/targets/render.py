# SPDX-License-Identifier: Apache-2.0
"""Text from templates: the only place that knows jinja2. Same plan, same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from ..errors import CompileError


def _load(name: str) -> str | None:
    path = files("tinybound.templates") / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def numbers(values: Iterable[Any], per_line: int = 16) -> str:
    """Integers as the inside of a C initialiser, in lines."""
    items = [str(int(v)) for v in values]
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return ",\n  ".join(lines)


def comment(text: str) -> str:
    """A name from a model, made harmless inside any comment of C, C++ or Verilog."""
    return re.sub(r"[^\w .:+-]", "_", text)


@cache
def environment() -> Environment:
    """The one template environment: undefined names are errors."""
    made = Environment(
        loader=FunctionLoader(_load),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    made.filters["numbers"] = numbers
    made.filters["comment"] = comment
    return made


def render(template: str, **names: Any) -> str:
    """The text of a template."""
    if _load(template) is None:
        raise CompileError(template, "no such template", f"templates/{template}")
    return environment().get_template(template).render(**names)
