# SPDX-License-Identifier: Apache-2.0
"""Imports point one way: one table, compared with the sources."""

import ast
import sys
from pathlib import Path

import pytest

COMPILER = Path(__file__).parents[1] / "compiler"
LOW = {"errors", "ranges", "rounding"}

# A part is a file or a folder of compiler/. Part -> the parts it may import besides itself; `*`: everything.
ALLOWED = {
    "errors": set(),
    "ranges": set(),
    "rounding": set(),
    "ops": LOW,
    "encodings": LOW,
    "graph": LOW | {"ops"},  # ops never import graph
    "domains": LOW | {"graph"},  # the domain is an argument of ops: it knows none of them
    "passes": LOW | {"graph", "ops", "domains"},
    "quantise": LOW | {"graph", "ops", "domains", "passes", "encodings"},
    "frontends": LOW | {"graph", "ops", "passes"},
    "kernels": LOW | {"graph", "ops", "targets"},  # of targets only what a plan is
    # never certify: the two promises stay apart
    "targets": LOW | {"graph", "ops", "encodings", "passes", "kernels"},
    "tools": {"errors"},
    "doctor": {"errors", "simulate", "tools"},
    "simulate": LOW | {"graph", "ops", "encodings", "domains", "passes", "targets", "tools", "boxes"},
    "certify": LOW | {"graph", "ops", "domains", "tools"},  # never targets or encodings
    "checker": set(),  # independent: nothing of ours
    "arrays": set(),
    "boxes": {"errors", "graph", "arrays"},
    "options": {"errors", "rounding"},
    "network_file": LOW | {"graph", "ops"},
    "build_folder": {"errors", "network_file"},
    "pipeline": LOW
    | {"graph", "ops", "domains", "passes", "quantise", "frontends"}
    | {"boxes", "arrays", "options"},
    # reads them all, nobody reads it
    "report": LOW | {"graph", "options", "passes", "kernels", "targets", "simulate", "certify"},
    "inspect_model": {"errors", "frontends", "options", "pipeline"}
    | {"kernels", "targets", "simulate", "report"},
    "terminal": {"certify", "doctor", "simulate"},  # by type only
    "build_files": {"*"},
    "build": {"*"},
    "firmware_image": {"*"},
    "asks": {"*"},
    "runs": {"*"},
    "cli_options": set(),
    "cli": {"*"},
    "__main__": {"*"},
    "__init__": {"*"},
}
# `*` reaches these only from cli, __main__ and __init__.
NOBODY_BELOW = {"cli", "__main__", "__init__"}

# package -> where it may be imported
OUTSIDE = {
    "onnx": {"frontends", "certify/export.py", "checker"},
    "google": {"frontends", "certify/export.py", "checker"},  # protobuf: its errors pass onnx
    "jinja2": {"targets/render.py", "report"},
    "subprocess": {"tools.py"},
    "typer": {"cli.py", "cli_options.py"},
    "distributed": {"certify/spread.py"},
    "rich": {"terminal.py"},
    "elftools": {"simulate"},
}
CHECKER_NEEDS = {"numpy", "onnx", "google", *sys.stdlib_module_names}


def imported(path, root):
    """(line, dotted parts below the package) of our own imports, and (line, name) of the others."""
    ours, others = [], []
    package = list(path.relative_to(root).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.append((node.lineno, node.module))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] + (node.module.split(".") if node.module else [])
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            ours += [(node.lineno, base or [name]) for name in names]
    return ours, others


def part_of(path, root):
    return path.relative_to(root).parts[0].removesuffix(".py")


def is_allowed(part, target):
    if target == part:
        return True
    if "*" in ALLOWED[part]:
        return target not in NOBODY_BELOW or part in {"cli", "__main__", "__init__"}
    return target in ALLOWED[part]


def violations(root):
    """One line per import that the table does not allow."""
    found = []
    parts = {part_of(p, root) for p in root.rglob("*.py")}
    for path in sorted(root.rglob("*.py")):
        part, where = part_of(path, root), path.relative_to(root).as_posix()
        if part not in ALLOWED:
            found.append(f"{where}: {part} is not in the table of tests/test_imports.py")
            continue
        ours, others = imported(path, root)
        for line, target in ours:
            top = target[0] if target[0] in parts else "__init__"  # a name from compiler/__init__.py
            if not is_allowed(part, top):
                found.append(f"{where}:{line}: {part} may not import {top}")
        for line, name in others:
            top = name.split(".")[0]
            if top in ("tinybound", "compiler"):
                found.append(f"{where}:{line}: absolute import of {name}; try a relative one")
            places = OUTSIDE.get(top)
            if places is not None and not any(where == p or where.startswith(p + "/") for p in places):
                found.append(f"{where}:{line}: {top} may be imported only in {', '.join(sorted(places))}")
            if part == "checker" and top not in CHECKER_NEEDS:
                found.append(f"{where}:{line}: the checker may not import {top}")
    return list(dict.fromkeys(found))


def test_imports_point_one_way():
    assert violations(COMPILER) == []


GOOD = {
    "ranges.py": "import dataclasses",
    "ops/base.py": "from ..ranges import Range",
    "ops/conv.py": "from .base import Op\nfrom . import base",
    "graph.py": "from .ops.base import Op\nfrom . import ranges",
    "targets/render.py": "import jinja2\nfrom .. import graph",
    "certify/export.py": "import onnx",
    "checker/read.py": "import onnx.helper\nimport numpy\nimport json",
    "build.py": "from .certify import export\nfrom .targets.render import x",
    "cli.py": "from .build import Build",
}
PLANTED = {
    "ops/conv.py": ["from ..graph import Graph", "from .. import graph", "import onnx", "import tinybound"],
    "ranges.py": ["from . import graph", "from .graph import Graph", "from . import Build"],
    "certify/export.py": ["from ..targets import render", "from .. import targets", "import jinja2"],
    "targets/render.py": ["from ..certify.export import x", "import subprocess", "from .. import build"],
    "checker/read.py": ["from ..ranges import Range", "import scipy", "from .. import errors"],
    "build.py": ["from . import cli", "import subprocess"],
    "graph.py": ["def f():\n    from .targets import render"],
    "new_part.py": ["import json"],
}


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def test_a_good_tree_passes(tmp_path):
    tree(tmp_path, GOOD)
    assert violations(tmp_path) == []


@pytest.mark.parametrize("name, text", [(n, t) for n, texts in PLANTED.items() for t in texts])
def test_a_planted_import_is_found(tmp_path, name, text):
    tree(tmp_path, {**GOOD, "errors.py": "", name: GOOD.get(name, "") + "\n" + text})
    assert len(violations(tmp_path)) == 1
