"""Blocks on executors of other processes: the same bits, work that travels, workers that die."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from workers import all_ended, dask, launcher, told

import sdekit as sk
from sdekit.ensembles.work import packed

PLAIN = {"backend": sk.backends.numpy()}
TS = [0, 0.5, 1]
TALLY = sk.stats.Statistic("seen", lambda: np.zeros(3), lambda s, sol: s + sol.x.sum(1), lambda a, b: a + b)
WALK = sk.process(lambda t, x: -x, lambda t, x: 1.0, additive=True)


@pytest.fixture(scope="module")
def pool():
    with sk.executors.processes(2) as pool:
        yield pool


def run(statistics, **others):
    given = {"h": 0.25, "paths": 40_960, "seed": 3, "block": 4096, **PLAIN, **others}
    return sk.ensemble(WALK, 0.5, TS, statistics=statistics, **given)


def dying(flag, first_path=8192):
    """A statistic whose worker ends at this path while the file `flag` is there."""

    def add(state, sol):
        if sol.state.first_path == first_path and os.path.exists(flag):
            os.remove(flag)
            os._exit(1)
        return TALLY.add(state, sol)

    return TALLY._replace(add=add)


def same(a, b):
    return a.seen.tobytes() == b.seen.tobytes()


def bits(result):
    return [np.asarray(v).tobytes() for found in result.results.values() for v in found]


def test_processes_give_the_same_bits(pool):
    """With lambdas in the process and the statistic."""
    pytest.importorskip("cloudpickle")
    assert same(run([TALLY], executor=pool), run([TALLY]))


@pytest.mark.slow
def test_compiled_code_gives_the_same_bits_in_processes(pool):
    pytest.importorskip("cloudpickle")
    statistics = [sk.stats.moments, sk.stats.quantiles([0.1, 0.9]), sk.stats.extremes, sk.stats.histogram([-1, 0, 1])]
    compiled = {"backend": None, "block": 8192}
    assert bits(run(statistics, executor=pool, **compiled)) == bits(run(statistics, **compiled))


def test_streams_of_processes(pool):
    found = list(sk.stream(sk.OU(), 0.5, TS, h=0.25, paths=20_000, seed=3, block=4096, executor=pool, **PLAIN))
    whole = sk.solve(sk.OU(), 0.5, TS, h=0.25, paths=20_000, seed=3, **PLAIN)
    assert np.array_equal(np.concatenate([sol.x for sol in found], 1), whole.x)


def test_a_dead_worker_is_replaced(pool, tmp_path):
    pytest.importorskip("cloudpickle")
    flag = tmp_path / "flag"
    flag.touch()
    assert same(run([dying(str(flag))], executor=pool), run([TALLY])) and not flag.exists()


def test_a_foreign_pool_ends_and_its_store_goes_on(tmp_path):
    pytest.importorskip("cloudpickle")
    pytest.importorskip("zarr")
    flag, store = tmp_path / "flag", tmp_path / "run.zarr"
    flag.touch()
    statistic = dying(str(flag))
    words = r"block \d, .* was lost with a worker: .*; .*, \d to 9 are missing: the same call"
    with ProcessPoolExecutor(1, get_context("spawn")) as foreign, pytest.raises(RuntimeError, match=words):
        run([statistic], executor=foreign, store=store)
    assert same(run([statistic], store=store), run([TALLY]))


def test_loky_replaces_a_dead_worker(tmp_path):
    loky = pytest.importorskip("loky")
    flag = tmp_path / "flag"
    flag.touch()
    try:
        found = run([dying(str(flag))], executor=loky.get_reusable_executor(1))
    finally:
        loky.get_reusable_executor().shutdown(wait=True)
    assert same(found, run([TALLY])) and not flag.exists()


def test_dask(tmp_path, monkeypatch):
    """A cluster of processes, one of which dies."""
    flag = tmp_path / "flag"
    with dask(2, tmp_path, monkeypatch) as cluster, cluster.get_client() as client:
        executor = client.get_executor()
        assert same(run([TALLY], executor=executor), run([TALLY]))
        flag.touch()
        assert same(run([dying(str(flag))], executor=executor), run([TALLY]))


RANKS = """
from mpi4py.futures import MPIPoolExecutor
import sdekit as sk
if __name__ == "__main__":
    given = dict(h=0.25, paths=40_960, seed=3, block=4096, statistics=[sk.stats.moments], backend=sk.backends.numpy())
    with MPIPoolExecutor() as pool:
        found = [sk.ensemble(sk.OU(), 0.5, [0, 1], executor=e, **given).moments.fourth.tobytes() for e in (pool, None)]
        print(found[0] == found[1], pool.num_workers)
"""


@pytest.mark.slow
def test_mpi(tmp_path):
    """Three ranks, as a user starts them: one has the script, two are the pool."""
    (tmp_path / "ranks.py").write_text(RANKS)
    command = *launcher(3), sys.executable, "-m", "mpi4py.futures", tmp_path / "ranks.py"
    assert told(*command).split() == ["True", "2"]


def test_a_run_that_fails_leaves_no_process():
    pytest.importorskip("cloudpickle")
    failing = TALLY._replace(add=lambda state, sol: 1 // 0)
    with sk.executors.processes(1) as pool:
        with pytest.raises(RuntimeError, match=r"block 0, .* raised twice: ZeroDivisionError"):
            run([failing], executor=pool)
        workers = list(pool._pool._processes)
    assert workers and all_ended(workers)


def test_what_cannot_travel_is_named(monkeypatch):
    lock = threading.Lock()
    with pytest.raises(ValueError, match="process cannot be sent to another process: .*lock"):
        packed((lock, 1.0), {"x0": 1.0, "process": lock})
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ValueError, match=r"process cannot .*; cloudpickle can do more"):
        packed(WALK, {"x0": 1.0, "process": WALK})


ORPHANS = """
import sdekit as sk
if __name__ == "__main__":
    pool, plain = sk.executors.processes(1), sk.backends.numpy()
    blocks = sk.stream(sk.OU(), 0.0, [0, 1], h=0.001, paths=10**6, block=4096, executor=pool, backend=plain)
    next(blocks)
    print(*pool._pool._processes, flush=True)
    input()
"""


def test_workers_end_with_their_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(script)], **pipes) as process:
        workers = [int(number) for number in process.stdout.readline().split()]
        process.kill()
    assert workers
    assert all_ended(workers)
