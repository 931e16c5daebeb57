# SPDX-License-Identifier: Apache-2.0
"""What all tests share: helpers, goldens, a place for builds, and the environment in which tools run."""

import fcntl
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by numpy; there is a worker for each core

import checker_nets
from command import InProcess, small, spawn

import tinybound
from tinybound.certify import attack, certificate

# A shell that starts the tests in the background makes them ignore Ctrl-C, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent

# Which slow tests come first when time is short: exactness and RTL, then proofs, then kernels. The many
# comparisons with other tools come last.
TELLING = (
    "test_exactness", "test_ops", "test_hw_exact", "test_forgeries", "test_planted_bugs",
    "test_user_networks", "test_checker", "test_hw_driver", "test_int16", "test_int16_forms", "test_kernels",
    "test_kernels16", "test_pool_kernels", "test_int4_kernel", "test_kernels_elements", "test_mixed_kernels",
    "test_cells", "test_hw_cocotb", "test_data_independence", "test_straight", "test_avr",
)  # fmt: skip
LAST = ("test_peer_suite",)
START, LATE = time.monotonic(), "the time was over"


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew")
    parser.addoption("--seconds", type=float, help="the most telling tests first; none begins later")


def pytest_configure(config):
    # cocotb and Verilator's makefiles call python3 from PATH: it must be this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shutil.which("ccache"):
        os.environ.setdefault("OBJCACHE", "ccache")
        os.environ["CCACHE_NOHASHDIR"] = "1"  # the same sources in another temporary folder are a hit
    # Most Verilated models run for less time than -Os costs on top; of that of -Og, -ftree-fre takes half.
    os.environ.setdefault("MAKEFLAGS", r"OPT_FAST=-Og\ -fno-tree-fre OPT_GLOBAL=-Og")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--seconds") is not None:
        rank = {name: i for i, name in enumerate(TELLING)} | {name: len(items) for name in LAST}
        items.sort(key=lambda item: rank.get(item.path.stem, len(TELLING)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    limit = item.config.getoption("--seconds")
    if limit is not None and time.monotonic() - START > limit:
        pytest.skip(LATE)


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    late = sum(LATE in str(report.longrepr) for report in skipped)
    if late:
        terminalreporter.write_line(f"{late} tests were left out: {LATE}")


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
def quick_attack(monkeypatch):
    """Certificates whose lower bounds are as found in a moment: for tests of everything else in them."""
    monkeypatch.setattr(certificate, "_budget", lambda _: 100)
    monkeypatch.setattr(attack, "PROVEN", 4)


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
def bundled(once, examples):
    """bundled(name, folder): certificate and build of one of checker_nets.BUNDLED, copied to `folder`."""

    def copied(name, folder):
        source = once(f"bundled_{name}", lambda made: checker_nets.bundled(name, examples, made / name))
        path = checker_nets.bundled_path(name, folder)
        shutil.copytree(source / name, folder, dirs_exist_ok=True)
        if not path.exists():  # beside its build
            shutil.copy(checker_nets.bundled_path(name, source / name), path)
        return path, tinybound.load(folder)

    return copied


@pytest.fixture
def build(built, tmp_path):
    """A copy of `built` that may be changed."""
    return shutil.copytree(built, tmp_path / "BUILD")
