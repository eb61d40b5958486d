"""A solve among others: concurrent calls, interrupts, the progress bar, and memory."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from backends import each_backend, solve

import sdekit as sk

ROOT = Path(__file__).parents[1]
REFERENCE = {"backend": sk.backends.numpy()}
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and resource are POSIX")


def start(code):
    """A Python process that runs `code` in the root of the repository."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Raced(NamedTuple):
    rate: float = 1.0
    additive = True

    def drift(self, t, x):
        return -self.rate * x

    def diffusion(self, t, x):
        return 0.5


def test_concurrent_calls():
    """Eight threads at once, with a process that none has compiled yet, and different numbers."""
    gate = threading.Barrier(8)

    def one(i):
        gate.wait()
        how = {"h": 0.1, "seed": i, "backend": sk.backends.numba(2)}
        return [sk.solve(Raced(1.0 + i), np.ones(600), [0, 1], method, **how).x for method in (sk.heun, sk.sra1)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(8)))
    for i, xs in enumerate(results):
        for x, method in zip(xs, (sk.heun, sk.sra1)):
            want = sk.solve(Raced(1.0 + i), np.ones(600), [0, 1], method, h=0.1, seed=i, **REFERENCE).x
            np.testing.assert_allclose(x, want, rtol=1e-12, atol=1e-14)


def test_no_thread_is_left():
    before = threading.active_count()
    sk.solve(sk.OU(), np.ones(100_000), [0, 1], h=1e-3, backend=sk.backends.numba(3), seed=0)
    assert threading.active_count() == before


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("engine", ["numba(2)", "numpy()"])
def test_interrupt(engine):
    """Ctrl-C during hours of work: KeyboardInterrupt within 2 s, and the threads are gone."""
    child = start(
        f"""
        import threading, time, sdekit as sk
        how = dict(backend=sk.backends.{engine})
        sk.solve(sk.OU(), 1.0, [0, 1], h=0.1, paths=3, **how)
        print("ready", flush=True)
        try:
            sk.solve(sk.OU(), 1.0, [0, 1], h=1e-7, paths=100_000, **how)
        except KeyboardInterrupt:
            print("interrupted", threading.active_count(), flush=True)
        """
    )
    try:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        time.sleep(1.5)  # the grid of 1e7 times is made, the kernels run
        child.send_signal(signal.SIGINT)
        begin = time.perf_counter()
        out, err = child.communicate(timeout=20)
        assert time.perf_counter() - begin < 4  # 2 s, on a machine that does other things as well
        assert out == "interrupted 1\n", err
    finally:
        child.kill()


@each_backend
@pytest.mark.parametrize("steps", [0, 1, 400])
def test_progress_bar(name, steps, capsys):
    pytest.importorskip("tqdm")
    ts = [0, 1] if steps else [0]
    sol = solve(name, sk.OU(), np.ones(3000), ts, h=1 / max(steps, 1), seed=1, progress=True)
    shown = capsys.readouterr().err
    assert "100%" in shown and "101%" not in shown
    np.testing.assert_array_equal(sol.x, solve(name, sk.OU(), np.ones(3000), ts, h=1 / max(steps, 1), seed=1).x)
    assert capsys.readouterr().err == ""


def test_progress_moves_on(capsys):
    """A longer run is seen at more than its start and its end."""
    pytest.importorskip("tqdm")
    sk.solve(sk.OU(), np.ones(1), [0, 1], h=0.1, seed=0)
    begin = time.perf_counter()
    sk.solve(sk.OU(), 1.0, [0, 1], h=2e-4, paths=40_000, progress=True, backend=sk.backends.numba(1), seed=0)
    if time.perf_counter() - begin > 0.35:
        seen = capsys.readouterr().err.replace("\r", "\n").split("\n")
        assert len({line.split("%")[0].strip() for line in seen if "%" in line}) > 2


def test_an_exception_in_between_ends_the_run(monkeypatch):
    """As an interrupt does: the threads stop, and the caller sees it."""

    class Stop(Exception):
        pass

    def broken(fraction):
        raise Stop

    module = sys.modules["sdekit.solve"]  # `sdekit.solve` itself is the function
    monkeypatch.setattr(module, "progress_bar", lambda show: contextlib.nullcontext(broken))
    before, begin = threading.active_count(), time.perf_counter()
    with pytest.raises(Stop):
        sk.solve(sk.OU(), 1.0, [0, 1], h=1e-5, paths=200_000, backend=sk.backends.numba(2), seed=0)
    assert time.perf_counter() - begin < 10 and threading.active_count() == before


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the peak of a process where Linux has it")
@pytest.mark.parametrize("start_as", ["paths=n", "an array"])
def test_peak_memory(start_as):
    """A warmed process: 1e7 float32 paths raise the peak by at most 1.3 × (input + output)."""
    x0, more, arrays = ("np.float32(1)", "paths=n", 2) if start_as == "paths=n" else ("np.ones(n, np.float32)", "", 3)
    child = start(
        f"""
        import numpy as np, sdekit as sk
        def go(n):
            return sk.solve(sk.OU(), {x0}, ts=[0, 1], h=0.5, {more})
        def peak():
            lines = open("/proc/self/status").read().splitlines()
            return 1024 * int(next(x for x in lines if x.startswith("VmHWM")).split()[1])
        go(100_000)
        before = peak()
        sol = go(10_000_000)
        print((peak() - before) / ({arrays} * 4e7))
        """
    )
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert 0.5 < float(out) < 1.3
