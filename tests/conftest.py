# SPDX-License-Identifier: Apache-2.0
"""What all tests share: helpers, goldens, a place for builds, and the environment in which tools run."""

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by numpy; there is a worker for each core

from command import InProcess, small, spawn

import tinybound

# A shell that starts the tests in the background makes them ignore Ctrl-C, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew")


def pytest_configure(config):
    # cocotb and Verilator's makefiles call python3 from PATH: it must be this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shutil.which("ccache"):
        os.environ.setdefault("OBJCACHE", "ccache")
        os.environ["CCACHE_NOHASHDIR"] = "1"  # the same sources in another temporary folder are a hit
    # Most Verilated models run for less than the second that -Os costs on top.
    os.environ.setdefault("MAKEFLAGS", "OPT_FAST=-O1 OPT_GLOBAL=-O1")


@pytest.fixture
def golden(request):
    """golden(text): the text equals tests/golden/FILE.TEST.txt. golden(text, "c") takes another ending.

    One file per test, named after it; `pytest --update-golden` writes it.
    """

    def compare(text: str, suffix: str = "txt"):
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in request.node.name)
        path = TESTS / "golden" / f"{request.node.path.stem}.{name}.{suffix}"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden {path.name}; try: pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def cache(tmp_path_factory, worker_id):
    """A folder for builds that several tests of this session use (each xdist worker has its own)."""
    return tmp_path_factory.mktemp(f"cache-{worker_id}")


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """once(name, make): the folder `name`, filled by make(folder) once per run for all xdist workers."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def made(name: str, make) -> Path:
        folder = base / name
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "made").exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                (folder / "made").touch()
        return folder

    return made


@pytest.fixture(scope="session")
def examples():
    """The folder of the bundled models."""
    return TESTS.parent / "examples"


@pytest.fixture
def command(monkeypatch, capsys):
    """The command line in this process."""
    return InProcess(monkeypatch, capsys)


@pytest.fixture(scope="session")
def built(once, examples):
    """controller2, compiled by the installed command; never changed. A module may have its own."""

    def make(folder):
        on = ("--domain", examples / "controller2_box.json", "--seed", "3")
        done = spawn("compile", examples / "controller2.onnx", "-o", folder / "B", *on)
        assert (done.code, done.err) == (0, "")

    return once("controller2", make) / "B"


@pytest.fixture(scope="session")
def pooled(once, examples):
    """A network with run-time bits, C only, without a certificate; never changed."""
    samples = examples / "digits_mlp_calibration.npz"
    options = tinybound.Options(target="c", weights=("pool64",), calibration=samples)
    made = once("pooled", lambda f: tinybound.compile(examples / "digits_mlp.onnx", f / "B", options))
    return made / "B"


@pytest.fixture(scope="session")
def small_build(once):
    """A small certified build; never changed."""
    options = tinybound.Options(domain="-1,1")
    return once("small", lambda f: tinybound.compile(small(f / "bad_input.onnx"), f / "B", options)) / "B"


@pytest.fixture
def build(built, tmp_path):
    """A copy of `built` that may be changed."""
    return shutil.copytree(built, tmp_path / "BUILD")
