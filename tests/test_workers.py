# SPDX-License-Identifier: Apache-2.0
"""Leaves cut by other processes and by workers of a real dask scheduler, some of which die in mid-run.

Results come back in any order and the tree depends on it, so bounds are compared by what they mean: each lies
between the largest difference that any run found and `ratio` times its own.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from pair_nets import NONE, RELU, Sketch, zoo
from test_cluster import cluster

from tinybound.certify import workers
from tinybound.certify.certificate import certify
from tinybound.certify.effort import Effort
from tinybound.certify.grow import Grower
from tinybound.certify.lockstep import entries, lockstep

__all__ = ["cluster"]  # the fixture
RATIO = 1.0005
SEARCH = Effort(90_000, ratio=RATIO, cells=1 << 7)


@pytest.fixture(scope="module")
def pair():
    """Three inputs: some pieces by crown, the others by cells."""
    s = Sketch(3, (3,), lower=-0.15, upper=0.2, two=False)
    h = s.dense(s.dense("x", 10, RELU), 8, RELU)
    return s.build(s.dense(h, 2, NONE), squeeze=1.2, top=127, reach=1.0)


@pytest.fixture(scope="module")
def serial(pair):
    return made(pair, SEARCH)


def made(pair, effort):
    return certify(pair.real, pair.whole, pair.lower, pair.upper, hashes={}, budget=300, effort=effort)


def same(one, other):
    """Both bounds hold all that both searches found, and are as close to it as they were asked to be."""
    found = max(one.attack.largest, other.attack.largest)
    for each in (one, other):
        assert found <= each.largest <= RATIO * each.attack.largest * (1 + 1e-8)


@pytest.fixture
def at_once(monkeypatch):
    """No search alone before there are processes."""
    monkeypatch.setattr(workers, "PATIENCE", 0.0)


@pytest.mark.parametrize("seed", [0, 8])
def test_what_workers_get_can_be_sent(seed):
    """Networks of all ops."""
    pair = zoo(seed)
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    grower = Grower(both, at, [pair.whole.outputs[0]], 0)
    assert workers.pickle.loads(workers.pickle.dumps(grower)).whole.root == grower.whole.root


def test_two_processes_prove_the_same(pair, serial, at_once):
    same(serial, made(pair, replace(SEARCH, jobs=2)))


def test_pieces_without_cells(at_once):
    """Networks that are bounded by the product."""
    pair = zoo(8)
    one = made(pair, Effort())
    many = made(pair, Effort(12, jobs=2))
    assert many.fields["tree"].count(None) <= 12
    assert many.largest <= one.largest


def test_a_lost_process_costs_nothing_but_time(pair, serial, at_once, monkeypatch):
    """The first jobs kill their process, in mid-run; others do their work again."""
    real, victims = workers.Pool.submit, iter([2, 5])
    count, victim = [0], [next(victims)]

    def submit(self, function, *arguments):
        count[0] += 1
        if count[0] == victim[0]:
            victim[0] = next(victims, None)
            return real(self, os._exit, 9)
        return real(self, function, *arguments)

    monkeypatch.setattr(workers.Pool, "submit", submit)
    same(serial, made(pair, replace(SEARCH, jobs=2)))
    assert victim[0] is None


def test_a_piece_that_always_kills_is_left_alone(pair, at_once, monkeypatch):
    """Its bound stays what it was; the certificate holds."""
    real = workers.Pool.submit
    monkeypatch.setattr(workers.Pool, "submit", lambda self, *_: real(self, os._exit, 9))
    found = made(pair, replace(SEARCH, jobs=2))
    assert found.fields["tree"] == [None]
    assert found.attack.largest <= found.largest


def test_time_and_ctrl_c_end_it(pair, at_once):
    """What is being worked on stays as it is."""
    for effort in (
        replace(SEARCH, ratio=0.0, jobs=2, until=time.perf_counter() + 1.0),
        replace(SEARCH, ratio=0.0, jobs=2, stop=iter([False] * 4 + [True] * 99).__next__),
    ):
        found = made(pair, effort)
        assert found.attack.largest <= found.largest < np.inf


def test_processes_leave_ctrl_c_to_their_parent():
    pool = workers.Pool(1, None)
    try:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    finally:
        pool.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_proves_the_same_though_a_worker_dies(cluster, pair, serial):
    """A scheduler and two workers on loopback; one is killed once there are results, with work in hand."""
    address, processes = cluster
    looks = list[float]()

    def progress(low, high):
        looks.append(high)
        if len(looks) == 3:
            processes[0].kill()

    found = made(pair, replace(SEARCH, cluster=address, progress=progress))
    assert len(looks) > 4
    assert processes[0].wait() != 0
    same(serial, found)
