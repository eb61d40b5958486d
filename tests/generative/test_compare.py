"""The comparison of all families at tiny sizes: what it writes, what it keeps, and that its workers end with it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from backends import needs

needs("torch", "zuko", "sklearn", "ot", "matplotlib", "tqdm")

from commands import PNG, explains, names  # noqa: E402

from benchmarks import compare, runs  # noqa: E402


def fails(capsys, arguments, *words):
    explains(compare.main, capsys, arguments, *words)


@pytest.mark.slow
def test_compare(here, capsys):
    run = ["--families", "vae", "wgan", "--seconds", "0.3", "--samples", "300", "--jobs", "1", "--out", "c"]
    assert compare.main(run) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == (here / "c" / "tables.md").read_text(encoding="utf-8").strip()
    assert names(here / "c") == ["comparison.png", "config.json", "result.json", "tables.md", "vae", "wgan"]
    assert (here / "c" / "comparison.png").read_bytes().startswith(PNG)
    rows = json.loads((here / "c" / "result.json").read_text())
    assert list(rows) == ["exact draws", "vae", "wgan"]
    assert rows["vae"]["density"] == "bound" and "NLL" in rows["vae"] and "NLL" not in rows["wgan"]
    assert all(word in printed for word in ("KL grid", "modes", "samples/s", "none", "KL/d, d = 16"))
    tables = (here / "c" / "tables.md").stat().st_mtime_ns
    assert compare.main(run) == 0 and capsys.readouterr().out == printed  # finished: nothing is done again
    assert (here / "c" / "tables.md").stat().st_mtime_ns == tables
    fails(capsys, [*run, "--seed", "1"], "another seed", "--force")
    (here / "c" / "result.json").unlink()  # as if it had been interrupted: trainings are kept
    before = (here / "c" / "wgan" / "model.pt").stat().st_mtime_ns
    assert compare.main(run) == 0 and (here / "c" / "wgan" / "model.pt").stat().st_mtime_ns == before


def test_compare_reports_a_family_that_fails(here, capsys, monkeypatch):
    def train(family, *arguments, **options):
        if family == "gan":
            raise FloatingPointError("loss nan at step 3")
        return runs.train(family, *arguments, **options)

    monkeypatch.setattr(compare, "train", train)
    small = ["--seconds", "0.3", "--samples", "300", "--jobs", "1", "--out", "c"]
    assert compare.main(["--families", "gan", "gmm", *small]) == 0
    rows = json.loads((here / "c" / "result.json").read_text())
    assert rows["gan"] == {"failed": "loss nan at step 3"} and rows["gmm"]["modes"] == 8
    assert "loss nan at step 3" in capsys.readouterr().out


def test_tables_are_aligned():
    lines = compare.table({"exact": {"W1": 0.1234567}, "moons": {"W1": 2345.6, "modes": 8}}).splitlines()
    assert len(lines) == 4 and len(set(map(len, lines))) == 1
    assert lines[2].startswith("| exact | 0.123 ") and "2,346" in lines[3]


def test_scaling_measures_the_moments():
    """A mixture of Gaussians learns the Gaussian: of the order of (d + 3)/4N = 1.25e-4 and 4.75e-4 per dimension,
    training draws and samples together twice to ten times that with eight components."""
    row = compare.scaling("gmm", 1.0)
    assert 0 < row["KL/d, d = 2"] < 2e-3 and 0 < row["KL/d, d = 16"] < 5e-3 and row["step"] > 0


@pytest.mark.parametrize("option", ["seconds", "samples"])
def test_mistakes_are_named(option, here, capsys):
    fails(capsys, [f"--{option}", "0", "--out", "c"], option, "got 0")
    assert names(here) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers through /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_it(number, tmp_path):
    """D4: those of a comparison that gets a signal in its trainings do not train on."""
    started = tmp_path / "c" / "vae" / "config.json"
    run = [sys.executable, "-m", "benchmarks.compare", "--families", "vae", "flow", "--jobs", "2"]
    run += ["--out", tmp_path / "c"]
    with subprocess.Popen(run, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as parent:
        at_work = waited(300, lambda: started.exists() and children(parent.pid))
        parent.send_signal(number)
    assert len(at_work) >= 2 and waited(60, lambda: not any(map(running, at_work)))


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def waited(seconds, condition):
    """The condition's value once it is true, or when the time is over."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return found
