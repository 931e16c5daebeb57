# SPDX-License-Identifier: Apache-2.0
"""Work spread over a real dask scheduler with two workers on loopback, one of which dies in mid-run."""

import json
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from pair_nets import zoo

from tinybound.certify.classes import Ball, classes_of
from tinybound.certify.spread import executor, spread
from tinybound.errors import CompileError, ToolMissing

PARTS = 40


def balls(pair):
    (name,) = pair.whole.inputs
    rng, low, high = np.random.default_rng(0), pair.lower[name], pair.upper[name]
    made = []
    for i in range(PARTS):
        x = low + rng.random(low.shape) * (high - low)
        made.append(Ball({name: x}, {name: x - 0.01 * i}, {name: x + 0.01 * i}))
    return made


def plain(found):
    return [each.to_json() for each in found]


def test_without_dask_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ToolMissing, match="tinybound\\[cluster\\]"), executor(1, "tcp://127.0.0.1:1"):
        pass


def test_a_process_that_dies_is_an_error_of_one_line():
    with pytest.raises(CompileError, match="--jobs"), executor(2) as pool:
        spread(die, [1, 2, 3], pool, 2)


def die(parts):
    os._exit(7)


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler, and the processes of its two workers."""
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    where = tmp_path / "scheduler.json"
    base = [sys.executable]
    scheduler = [*base, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = [*base, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(where), "--no-nanny"]
    worker += ["--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
    started = [subprocess.Popen([*scheduler, "--no-dashboard", "--scheduler-file", str(where)], **quiet)]
    try:
        wait(where.exists)
        started += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        yield json.loads(where.read_text())["address"], started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_killed_in_mid_run_changes_nothing(cluster):
    address, workers = cluster
    pair = zoo(0)
    out = pair.whole.outputs[0]
    task = partial(classes_of, pair.real, pair.whole, out, out, seed=0)
    parts = balls(pair)
    expected = task(parts)
    with executor(1, address) as pool:
        client = pool._client
        wait(lambda: len(client.scheduler_info()["workers"]) == 2)
        futures = [pool.submit(task, parts[i : i + 2]) for i in range(0, PARTS, 2)]
        wait(lambda: any(f.done() for f in futures))
        assert not all(f.done() for f in futures)
        workers[0].kill()
        found = [each for f in futures for each in f.result()]
        assert plain(found) == plain(expected)
        assert plain(spread(task, parts, pool, 1)) == plain(expected)  # the worker that is left
        assert len(client.scheduler_info()["workers"]) == 1
