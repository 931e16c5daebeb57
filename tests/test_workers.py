# SPDX-License-Identifier: Apache-2.0
"""Leaves cut by other processes and by workers of a real dask scheduler, some of which die in mid-run.

Results come back in any order and the tree depends on it, so bounds are compared by what they mean: each lies
between the largest difference that any run found and `ratio` times its own.
"""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pair_nets import NONE, RELU, Sketch, zoo
from test_cluster import cluster, wait

from tinybound.certify import workers
from tinybound.certify.certificate import certify
from tinybound.certify.effort import Effort, Ended
from tinybound.certify.grow import Grower
from tinybound.certify.lockstep import entries, lockstep
from tinybound.certify.neurons import bounded
from tinybound.certify.nodes import Job

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


def test_nobody_waits_for_work_that_is_not_wanted():
    """Processes in the midst of long jobs end with the search that they work for."""
    pool = workers.Pool(2, None)
    ready = [pool.submit(os.getpid).result() for _ in range(20)]
    for _ in ready:
        pool.submit(time.sleep, 60)
    time.sleep(0.2)
    closed = time.perf_counter()
    pool.close()
    while any(alive(process) for process in set(ready)):
        assert time.perf_counter() < closed + 1.5
        time.sleep(0.02)


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_ctrl_c_in_this_process(pair):
    """The pieces of one job are given up, and what is known of them stays."""
    both = lockstep(pair.real, pair.whole)
    grower = Grower(both, entries(both, pair.whole, pair.lower, pair.upper), [pair.whole.outputs[0]], 0)
    bound = {pair.whole.outputs[0]: np.ones((1, 2))}
    job = Job((), 0.0, 0.0, 99, 0, 60.0)
    (grown,) = grower.start(bound, job).grown
    looks = iter([False] + [True] * 9)
    grower.stop = lambda: next(looks)
    assert grower.cut(replace(job, nodes=grown)).grown == (None,)


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


def test_jobs_that_nobody_waits_for_are_given_up(pair, monkeypatch):
    """On a worker: what its search would go on with for a minute."""
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    grower = Grower(both, at, [pair.whole.outputs[0]], 0)
    job = Job((), 0.0, 0.0, 99, 0, 60.0)
    (nodes,) = grower.start({pair.whole.outputs[0]: np.ones((1, 2))}, job).grown
    packed = workers.pickle.dumps(grower)
    monkeypatch.setattr(workers, "unwanted", lambda: lambda: True)
    assert workers.work("here", packed, replace(job, nodes=nodes)).grown == (None,)
    monkeypatch.undo()
    assert workers.work("here", packed, replace(job, nodes=nodes)).grown != (None,)


def test_each_thread_of_a_worker_has_a_search_of_its_own(pair):
    """Two jobs at once would count down the same room, and take each other's time."""
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    packed = workers.pickle.dumps(Grower(both, at, [pair.whole.outputs[0]], 0))

    def own(_):
        workers.work("here", packed, Job((), 0.0, 0.0, 99, 0, 60.0))
        time.sleep(0.2)
        return workers._known.grower

    with ThreadPoolExecutor(2) as pool:
        assert len(set(map(id, pool.map(own, range(2))))) == 2


def test_passes_end_when_it_is_over(pair):
    """In the midst of one, not only between two."""
    both = lockstep(pair.real, pair.whole)
    at = entries(both, pair.whole, pair.lower, pair.upper)
    for count in range(6):
        looks = iter([False] * count + [True] * 99)
        with pytest.raises(Ended):
            bounded(both, at, (), [pair.whole.outputs[0]], {}, over=looks.__next__)
        assert len(list(looks)) == 98


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_stops_when_its_search_does(cluster, tmp_path):
    """What is being worked on when Ctrl-C is pressed, not only what waits."""
    address, _ = cluster
    place = tmp_path / "state"

    def spin(place):  # dask sends it as it is
        import time
        from pathlib import Path

        from tinybound.certify.spread import unwanted

        gone, end = unwanted(), time.monotonic() + 60
        Path(place).write_text("at work")
        while not gone() and time.monotonic() < end:
            time.sleep(0.01)
        Path(place).write_text("given up" if gone() else "done")

    pool = workers.Pool(1, address)
    pool.submit(spin, str(place))
    wait(place.exists)
    time.sleep(0.5)
    assert place.read_text() == "at work"
    pool.close()
    wait(lambda: place.read_text() == "given up", 10)
