# SPDX-License-Identifier: Apache-2.0
"""What all tests share: helpers, goldens, a place for builds, and the environment in which tools run."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

# A shell that starts the tests in the background makes them ignore Ctrl-C, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
sys.path.insert(
    0, str(TESTS)
)  # makes the helper modules of this folder importable under --import-mode=importlib
sys.path.append(str(TESTS.parent / "benchmarks"))  # layers that costs are measured on


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew")


def pytest_configure(config):
    # cocotb and Verilator's makefiles call python3 from PATH: it must be this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shutil.which("ccache"):
        os.environ.setdefault("OBJCACHE", "ccache")
        os.environ["CCACHE_NOHASHDIR"] = "1"  # the same sources in another temporary folder are a hit


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
def examples():
    """The folder of the bundled models."""
    return TESTS.parent / "examples"
