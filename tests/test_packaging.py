# SPDX-License-Identifier: Apache-2.0
"""Wheel, source distribution and editable install each work from another folder, with every file."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("compiler", "templates", "hw", "firmware")  # what is installed
SPDX = "SPDX-License-Identifier: Apache-2.0"

# Run in the fresh environment, from an empty folder: every package imports, every data file can be read.
USE = """
import importlib, sys, tinybound
from importlib.resources import files
for name in sys.argv[1].split(","):
    importlib.import_module(name)
for path in sys.argv[2].split(","):
    package, _, name = path.rpartition("/")
    assert files(package).joinpath(name).read_bytes() is not None, path
"""


def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def tracked(*patterns):
    """The files of this checkout that git keeps or would keep."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def package_of(folder):
    """compiler/ops -> tinybound.ops, hw/x -> tinybound.hw.x"""
    parts = folder.relative_to(ROOT).parts
    return ".".join(["tinybound", *(parts[1:] if parts[0] == "compiler" else parts)])


def test_every_folder_is_a_listed_package():
    folders = {path.parent for path in tracked(*FOLDERS)}
    assert {package_of(f) for f in folders} == set(settings()["packages"])


def test_every_folder_has_an_init():
    missing = {p.parent for p in tracked(*FOLDERS) if not (p.parent / "__init__.py").exists()}
    assert not missing


def test_data_files_match_a_listed_pattern():
    data = settings()["package-data"]
    for path in tracked(*FOLDERS):
        if path.suffix != ".py":
            assert any(path.match(pattern) for pattern in data.get(package_of(path.parent), [])), path


def test_sources_name_their_licence():
    sources = tracked("*.py", "*.c", "*.h", "*.v", "*.sv", "*.cpp", "*.S", "*.ld", "*.sh", "Makefile")
    ours = [p for p in sources if p.parent.name != "golden"]  # generated text belongs to the user
    bare = [str(p.relative_to(ROOT)) for p in ours if SPDX not in "".join(head(p, 3))]
    assert bare == []


def test_python_begins_with_the_licence():
    bare = [str(p.relative_to(ROOT)) for p in tracked("*.py") if head(p, 1) != [f"# {SPDX}\n"]]
    assert bare == []


def head(path, lines):
    with path.open(encoding="utf-8") as f:
        return [line for _, line in zip(range(lines), f, strict=False)]


def run(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(wheel from the tree, wheel from the source distribution, the folder of a copy to install editable)."""
    base = tmp_path_factory.mktemp("dist")
    copy = base / "copy"
    for path in tracked():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    build = [sys.executable, "-m", "build", "--no-isolation"]  # setuptools is in the constraints
    run(*build, "--wheel", "-o", base / "tree", copy, cwd=base)
    run(*build, "-o", base / "sdist", copy, cwd=base)  # the wheel is then made from the source distribution
    return next((base / "tree").glob("*.whl")), next((base / "sdist").glob("*.whl")), copy


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_install_works_from_another_folder(distributions, tmp_path, kind):
    wheel, from_sdist, copy = distributions
    what = {"wheel": [wheel], "sdist": [from_sdist], "editable": ["-e", copy]}[kind]
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    pip = [python, "-m", "pip", "install", "-q", "-c", ROOT / "requirements/constraints.txt"]
    run(*pip, "setuptools", cwd=tmp_path)
    run(*pip, "--no-build-isolation", *what, cwd=tmp_path)
    data = [p for p in tracked(*FOLDERS) if p.suffix != ".py"]
    paths = ",".join(f"{package_of(p.parent)}/{p.name}" for p in data)
    (tmp_path / "elsewhere").mkdir()
    modules = ",".join(settings()["packages"])
    run(python, "-c", USE, modules, paths, cwd=tmp_path / "elsewhere")
    if (ROOT / "compiler/cli.py").exists():
        assert "compile" in run(tmp_path / "venv/bin/tinybound", "--help", cwd=tmp_path / "elsewhere")
