"""Executors for `stream` and `ensemble`, where those of other packages do not serve."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor

from . import machine
from .checks import integer

__all__ = ["processes"]


class Renewing(Executor):
    """An executor whose pool is made anew by `renew`; what the old one had not finished is lost."""

    def __init__(self, workers, make):
        self._max_workers, self._make = workers, make
        self._pool = make()

    def submit(self, fn, /, *args, **kwargs):
        return self._pool.submit(fn, *args, **kwargs)

    def renew(self):
        self._pool.shutdown(wait=False)
        self._pool = self._make()

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


class processes(Renewing):
    """A pool of n fresh processes (all CPUs by default) that is made anew where one of them dies.

        if __name__ == "__main__":
            with sk.executors.processes(4) as pool:
                result = sk.ensemble(..., executor=pool)

    They are spawned, never forked from a process that has threads, so that a script needs that first line. They
    leave Ctrl-C to their parent, and end when it does, however it ends.
    """

    def __init__(self, n: int | None = None):
        workers = machine.cpus() if n is None else integer("n", n, least=1)
        spawned = multiprocessing.get_context("spawn")
        super().__init__(workers, lambda: ProcessPoolExecutor(workers, spawned, _begin))


def renewing(executor):
    """The executor, with `renew` if it is loky's, which hands out a new one where a worker has died."""
    if not type(executor).__module__.startswith("loky."):
        return executor
    import loky

    return Renewing(executor._max_workers, lambda: loky.get_reusable_executor(executor._max_workers))


def _begin():
    """A worker begins: it leaves Ctrl-C to its parent, and ends with it, whom its queue does not tell of."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow():
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
