"""The command line."""

import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from workers import all_ended, children

import sdekit as sk
from sdekit import __main__ as cli
from sdekit.app import simulate, tables, texts
from sdekit.drawing import formats

ROOT = Path(__file__).parents[1]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--markdown"]])
def test_methods_lists_each_method(flags, capsys):
    assert cli.main(["methods", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in sk.methods.__all__:
        assert sum(re.match(rf"(\| `)?{name}\b", line) is not None for line in lines) == 1


def test_a_row_holds_the_claims_of_the_record():
    assert cli.method_row(sk.euler_maruyama) == (
        "euler_maruyama",
        "Itô",
        "additive, diagonal, general",
        "general 0.5, diagonal 0.5, additive 1",
        *("1", "1", "1", "1"),
    )
    assert cli.method_row(sk.rk4) == ("rk4", "–", "none (ODE)", "–", "–", "4", "4", "0")
    assert cli.method_row(sk.milstein_strat)[1:4] == ("Stratonovich", "additive, diagonal", "1")

    @sk.method(strong={"diagonal": 1.5}, weak=2.5, order=3, drifts=4, normals=2)
    def mine(sde, t, t1, x, h, dw, dz):
        return x

    assert cli.method_row(mine) == ("mine", "Itô", "additive, diagonal", "1.5", "2.5", "3", "4", "2")


def test_the_text_table_is_aligned():
    lines = cli.method_table()
    starts = [match.start() for match in re.finditer("-+", lines[1])]
    for line in lines[2:]:
        assert all(line[i - 1] == " " and line[i] != " " for i in starts[1:])


def test_the_markdown_table_has_the_same_cells_in_each_row():
    assert {line.count(" | ") for line in cli.method_table(markdown=True)} == {len(cli.COLUMNS) - 1}


# --- simulate ------------------------------------------------------------------------------------

OU = ["simulate", "OU", "--theta", "2", "--sigma", "0.3", "--h", "0.05", "--paths", "50", "--ts", "0:2:11"]


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def test_simulate_prints_statistics(capsys):
    """A row for each time; as JSON the numbers of `ensemble`, to the bit."""
    kinds = "moments,quantiles:0.05:0.95,extremes,histogram:-1:1:4"
    args = ["--ts", "0,1", "--seed", "3", "--paths", "5e3", "--x0=-1", "--statistics", kinds]
    assert cli.main([*OU, *args]) == 0
    first, head, *rows, last = lines(capsys)
    assert first == "OU(theta = 2, mu = 0, sigma = 0.3), euler_maruyama: 5,000 paths, 0 failed, seed 3"
    assert head.split() == ["t", "mean", "stderr", "std", "5%", "95%", "least", "largest"]
    assert len(rows) == 2 and last.startswith('histogram: {"edges": [-1.0, -0.5, 0.0')
    assert cli.main([*OU, *args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    result = sk.ensemble(
        sk.OU(theta=2.0, sigma=0.3), -1.0, [0, 1], h=0.05, paths=5000, seed=3,
        statistics=[sk.stats.moments, sk.stats.histogram(np.linspace(-1, 1, 5))],
    )  # fmt: skip
    assert found["statistics"]["moments"]["fourth"] == result.moments.fourth.tolist()
    assert found["statistics"]["histogram"]["counts"] == result.histogram.counts.tolist()
    assert float(rows[1].split()[1]) == pytest.approx(result.moments.mean[1], rel=1e-5)
    assert (found["process"], found["x0"], found["t"], found["h"]) == ("OU", -1.0, [0.0, 1.0], 0.05)
    assert found["parameters"] == {"theta": 2.0, "mu": 0.0, "sigma": 0.3}


def test_results_of_any_shape_are_plain():
    """Of a statistic of one's own: rows of unlike lengths, numbers of numpy, what is not finite."""
    ragged = [np.arange(2), (1.5, math.nan), [], {3: np.float64(2.0)}, np.array(7), "some", None]
    found = [[0, 1], [1.5, None], [], {"3": 2.0}, 7, "some", None]
    assert tables.plain(ragged) == found and json.dumps(tables.plain(ragged)) == json.dumps(found)


def test_options_may_stand_before_the_process(capsys):
    """Those with a value, as its parameters have, and those without."""
    commands = cli.parser()._subparsers._group_actions[0].choices
    options = [action for name in ("simulate", "expect") for action in commands[name]._actions]
    assert {text for action in options if action.nargs == 0 for text in action.option_strings} == set(texts.FLAGS)
    outputs = []
    for argv in (
        [*OU, "--x0", "-1", "--seed", "3", "--json"],
        ["simulate", "--json", "--x0", "-1", "--seed=3", *OU[2:], "OU"],
    ):
        assert cli.main(argv) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    args = ["expect", "--theta", "2", "--payoff", "mean", "--t", "1", "--tol", "0.1", "--seed", "0", "OU", "--x0", "1"]
    assert cli.main([*args, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == pytest.approx(np.exp(-2), abs=0.1)
    assert texts.made(cli.parser().parse_args(["simulate", "OU"])) == sk.OU()


def test_simulate_writes_paths(here, capsys):
    assert cli.main([*OU, "--x0=-1", "--seed", "3", "--out", "ou.npz", "--plot", "ou.png"]) == 0
    ts = np.linspace(0, 2, 11)
    expected = sk.solve(sk.OU(theta=2.0, sigma=0.3), -1.0, ts, h=0.05, paths=50, seed=3)
    with np.load("ou.npz") as file:
        np.testing.assert_array_equal(file["t"], ts)
        np.testing.assert_array_equal(file["x"], expected.x)
        assert file["failed"].shape == (50,) and not file["failed"].any()
        settings = json.loads(str(file["settings"]))
    assert (settings["process"], settings["seed"], settings["method"]) == ("OU", 3, "euler_maruyama")
    assert (here / "ou.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in here.iterdir()) == ["ou.npz", "ou.png"]


def test_simulate_keeps_files_that_exist(here, capsys):
    (here / "ou.npz").write_bytes(b"precious")
    assert cli.main([*OU, "--out", "ou.npz"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (here / "ou.npz").read_bytes() == b"precious"
    assert cli.main([*OU, "--out", "ou.npz", "--force"]) == 0
    assert np.load("ou.npz")["x"].shape == (11, 50)


def test_simulate_leaves_no_half_a_file(here, monkeypatch, capsys):
    def breaks(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", breaks)
    assert cli.main([*OU, "--out", "ou.npz"]) == 2
    assert "no space left" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_simulate_takes_components_and_float32(here, capsys):
    args = ["simulate", "Lorenz", "--x0", "1,2,3", "--dtype", "float32", "--ts", "0,1", "--paths", "4"]
    assert cli.main([*args, "--method", "heun", "--h", "0.01", "--out", "a.npz", "--plot", "a.svg"]) == 0
    x = np.load("a.npz")["x"]
    assert x.shape == (2, 4, 3) and x.dtype == np.float32
    np.testing.assert_array_equal(x[0], np.tile(np.float32([1, 2, 3]), (4, 1)))
    assert "<svg" in (here / "a.svg").read_text()
    assert [row.split()[:2] for row in lines(capsys)[2:5]] == [["0", "x"], ["0", "y"], ["0", "z"]]


def test_simulate_reports_failed_paths(here, capsys):
    assert cli.main([*OU[:2], "--theta=-1e30", *OU[4:], "--out", "a.npz"]) == 0
    told = capsys.readouterr()
    assert "50 paths became non-finite" in told.err and "50 failed" in told.out
    assert np.load("a.npz")["failed"].all()


@pytest.mark.parametrize("kind", ["threads:2", pytest.param("processes:2", marks=pytest.mark.slow)])
def test_simulate_on_executors(kind, capsys):
    if kind.startswith("processes"):
        pytest.importorskip("cloudpickle")
    args = [*OU, "--paths", "2e4", "--block", "4096", "--seed", "3", "--json"]
    found = []
    for more in ([], ["--executor", kind]):
        assert cli.main([*args, *more]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]


MINE = """
from __future__ import annotations
from dataclasses import dataclass
import sdekit as sk

@dataclass(frozen=True)
class Mine:
    \"\"\"dX = −k X dt + dW.\"\"\"
    k: float
    additive = True
    def drift(self, t, x):
        return -self.k * x
    def diffusion(self, t, x):
        return 1.0

three = Mine(3.0)
positive = sk.stats.Statistic("positive", lambda: 0, lambda n, sol: n + int((sol.final > 0).sum()), lambda a, b: a + b)

def cube(x):
    return x**3
"""


@pytest.mark.slow
def test_processes_statistics_and_payoffs_of_ones_own(here, monkeypatch, capsys):
    """From a file and from a module, a class and a record, here and in other processes."""
    (here / "ours.py").write_text(MINE)
    monkeypatch.syspath_prepend(here)
    args = ["--x0", "0", "--h", "0.1", "--paths", "100", "--ts", "0,1", "--seed", "0"]
    args += ["--statistics", "moments,ours.py:positive"]
    outputs = []
    for name, more in (("ours.py:Mine", []), ("ours:three", []), ("ours.py:three", ["--executor", "processes:1"])):
        assert cli.main(["simulate", name, "--k", "2", *args, *more]) == 0
        outputs.append(lines(capsys)[1:])
    assert outputs[0] == outputs[1] == outputs[2] and outputs[0][-1].startswith("positive: ")
    assert (
        cli.main(["expect", "ours.py:three", "--x0", "1", "--t", "0.5,1", "--payoff", "ours.py:cube", "--tol", "0.1"])
        == 0
    )
    assert "±" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["simulate", "expect"])
def test_help_shows_formulas_and_fields(command, capsys):
    for more, words in (
        ([], [*sk.processes.__all__, "Geometric Brownian motion"]),
        (["Heston"], ["--kappa", "--rho VALUE", "-0.7", "√v⁺ S dW₁"]),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, *more, "--help"])
        told = capsys.readouterr().out
        assert stop.value.code == 0 and all(word in told for word in words), words


@pytest.mark.parametrize("name", sk.processes.__all__)
def test_each_process_has_settings(name):
    """Its parameters are options, which no other option hides; its own start, and times inside its domain."""
    given = ["--alphas_cumprod", "0.9,0.5,0.1"] if name == "DiscreteVP" else []
    arguments = cli.parser(["simulate", name]).parse_args(["simulate", name, *given])
    process = texts.made(arguments)
    x0, ts = texts.start(arguments, process), simulate.times(arguments, process)
    low, high = process.domain
    assert low <= ts[0] < ts[-1] <= high
    assert len(simulate.state_names(process, x0)) == x0.size
    assert set(texts.settable(type(process))) <= set(sk.records.fields(type(process)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["OUU"], ["unknown process 'OUU'", "OU", "Lorenz"]),
        (["OU", "--theta", "one"], ["theta must be numbers", "'one'"]),
        (["OU", "--sigma=-1"], ["sigma = -1.0"]),
        (["DiscreteVP"], ["alphas_cumprod of DiscreteVP is missing"]),
        (["nowhere.py:A"], ["process 'nowhere.py:A' cannot be loaded", "FileNotFoundError"]),
        (["math:A"], ["process 'math:A' cannot be loaded", "no attribute 'A'"]),
        (["OU"], ["how to step is not said"]),
        (["OU", "--h", "0.1", "--tol", "1"], ["h", "tol"]),
        (["OU", "--h", "1", "--method", "huen"], ["unknown method 'huen'", "heun"]),
        (["OU", "--h", "1", "--method", "rk4"], ["rk4", "noise"]),
        (["OU", "--h", "1", "--x0", "1,2"], ["x0", "OU: 1, not 2"]),
        (["OU", "--h", "1", "--x0", "a"], ["x0", "'a'"]),
        (["OU", "--h", "0"], ["h must be a real number, above 0"]),
        (["OU", "--h", "1", "--ts", "0:1"], ["ts must be numbers", "'0:1'"]),
        (["OU", "--h", "1", "--ts", "0,inf"], ["ts"]),
        (["OU", "--h", "1", "--paths", "0"], ["paths"]),
        (["OU", "--h", "1", "--block", "100"], ["block must be a multiple of 4,096"]),
        (["OU", "--h", "1", "--first-path", "5"], ["first_path must be a multiple of 4,096"]),
        (["OU", "--h", "1", "--seed", "-1"], ["seed"]),
        (["VP", "--h", "1", "--ts", "0,2"], ["domain", "VP"]),
        (["OU", "--h", "1", "--statistics", "momentum"], ["statistics must be moments", "'momentum'"]),
        (["OU", "--h", "1", "--statistics", "quantiles:2"], ["levels"]),
        (["OU", "--h", "1", "--statistics", "quantiles:a"], ["quantiles must be a number", "'a'"]),
        (["OU", "--h", "1", "--statistics", "histogram:0:1"], ["histogram:FROM:TO:BINS", "'histogram:0:1'"]),
        *(
            (
                ["OU", "--h", "1", "--statistics", f"histogram:0:1:{bins}"],
                [f"bins must be an integer from 1 to 1000000, got {bins!r}"],
            )
            for bins in ("0", "-1", "inf", "nan", "20.7", "many", "1e9")
        ),
        (["OU", "--h", "1", "--statistics", "moments,moments"], ["'moments' is taken"]),
        (["OU", "--h", "1", "--executor", "cluster"], ["executor must be threads[:N]", "'cluster'"]),
        (["OU", "--h", "1", "--executor", "threads:0"], ["number of threads", "'0'"]),
        (["OU", "--h", "1", "--executor", "dask"], ["dask:ADDRESS"]),
        (["OU", "--h", "1", "--keep-paths"], ["--keep-paths", "--store"]),
        (["OU", "--h", "1", "--plot", "a.docx"], ["a.docx", ".png"]),
        (["OU", "--h", "1", "--plot", "nowhere/a.png"], ["no folder nowhere"]),
    ],
)
def test_simulate_explains_errors(arguments, words, here, capsys):
    assert cli.main(["simulate", *arguments]) == 2
    *_, error = (told := capsys.readouterr().err).splitlines()
    assert all(word in error for word in words) and "Traceback" not in told, told
    assert list(here.iterdir()) == []


def test_a_parameter_with_the_name_of_an_option_is_refused(here, capsys):
    (here / "clash.py").write_text("import collections\nClash = collections.namedtuple('Clash', 'tol')\n")
    assert cli.main(["simulate", "clash.py:Clash", "--tol", "1"]) == 2
    assert "parameter tol of clash.py:Clash has the name of an option" in capsys.readouterr().err


def test_the_parser_rejects_with_status_2(capsys):
    for arguments in (
        [], ["nothing"], ["simulate"], ["simulate", "OU", "--h", "x"], ["simulate", "OU", "--teta", "1"],
        ["simulate", "OU", "--paths", "1.5"], ["simulate", "--teta", "1", "OU"], ["expect", "OU", "--t", "1"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_store_goes_on(here, capsys):
    pytest.importorskip("zarr")
    args = [*OU, "--paths", "2e4", "--block", "4096", "--store", "run.zarr", "--json"]
    assert cli.main([*args, "--seed", "3", "--keep-paths"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert cli.main([*args, "--keep-paths"]) == 0  # with the seed of the store
    assert json.loads(capsys.readouterr().out) == first
    assert cli.main([*args, "--keep-paths", "--sigma", "1"]) == 2
    assert "store run.zarr holds a run with process = OU" in capsys.readouterr().err
    for more, name in (([], "a.npz"), (["--store", "other.zarr"], "b.npz")):
        assert cli.main([*OU, "--seed", "3", "--out", name, *more]) == 0
    np.testing.assert_array_equal(np.load("a.npz")["x"], np.load("b.npz")["x"])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_no_process(here, capsys):
    """kill -9 of the parent after some blocks; its workers end, and the same command ends with the same bits."""
    pytest.importorskip("zarr")
    pytest.importorskip("cloudpickle")
    args = ["simulate", "OU", "--h", "1e-3", "--ts", "0,1", "--paths", "1e6", "--block", str(2**14), "--seed", "3"]
    command = [sys.executable, "-m", "sdekit", *args, "--json", "--store", "run.zarr", "--executor", "processes:2"]
    totals, until = here / "run.zarr" / "statistics" / "totals", time.monotonic() + 240
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        while blocks(totals) < 5 and time.monotonic() < until:
            time.sleep(0.02)
        workers = children(process.pid)
        process.kill()
    assert workers and 5 <= blocks(totals) < 61
    assert all_ended(workers)
    found = []
    for more in (["--store", "run.zarr"], []):
        assert cli.main([*args, "--json", *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["statistics"])
    assert found[0] == found[1]


def blocks(totals):
    """How many are finished."""
    try:
        return pickle.loads(zlib.decompress(totals.read_bytes()))[0]
    except FileNotFoundError:
        return 0


# --- expect --------------------------------------------------------------------------------------


def test_expect_prints_the_answer(capsys):
    args = [
        "expect",
        "GBM",
        "--mu",
        "0",
        "--x0",
        "100",
        "--t",
        "1",
        "--payoff",
        "call:100",
        "--tol",
        "0.1",
        "--seed",
        "1",
    ]
    assert cli.main(args) == 0
    assert re.match(r"[\d.]+ ± [\d.]+ .*bias 0,", capsys.readouterr().out)
    assert cli.main([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert abs(found["value"] - 7.96557) < 0.1 and found["supported"] and found["seed"] == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [("call:2", [0, 1]), ("put:2", [1, 0]), ("digital:2", [0, 1]), ("mean", [1, 3]), ("second-moment", [1, 9])],
)
def test_payoffs(text, value):
    assert texts.payoff(text)(np.array([1.0, 3.0])).tolist() == value
    assert texts.payoff(text)(np.array([[1.0, 7.0], [3.0, 8.0]])).tolist() == value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--payoff", "cal:100"], ["payoff 'cal:100' cannot be loaded"]),
        (["--payoff", "call"], ["payoff must be one of call:STRIKE", "'call'"]),
        (["--payoff", "call:a"], ["payoff must be a number", "'a'"]),
        (["--payoff", "mean", "--t", "0"], ["t must be", "above 0"]),
        (["--payoff", "mean", "--t", "1,2,3"], ["t must be a time"]),
        (["--payoff", "mean", "--tol", "0"], ["tol must be", "above 0"]),
        (["--payoff", "mean", "--inner", "0"], ["inner"]),
        (["--payoff", "mean", "--method", "em"], ["unknown method 'em'"]),
    ],
)
def test_expect_explains_errors(arguments, words, capsys):
    assert cli.main(["expect", "GBM", "--t", "1", "--tol", "1", *arguments]) == 2
    *_, error = (told := capsys.readouterr().err).splitlines()
    assert all(word in error for word in words) and "Traceback" not in told, told


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_installs_what_its_targets_need(tmp_path):
    """D6: the demo its own extras alone; what follows the development tools, into the same environment."""
    root = Path(__file__).parents[1]
    for target, extra in (("demo", "demo"), ("test", "dev"), ("bench", "bench")):
        told = subprocess.run(["make", "-n", target, f"VENV={tmp_path}"], cwd=root, capture_output=True, text=True)
        assert re.findall(r'-e "\.\[(\w+)\]"', told.stdout) == [extra]
        (tmp_path / f".{extra}").touch()
        again = subprocess.run(["make", "-n", target, f"VENV={tmp_path}"], cwd=root, capture_output=True, text=True)
        assert "pip install" not in again.stdout


def test_formats_are_known():
    pytest.importorskip("matplotlib")
    assert {"png", "pdf", "svg"} <= set(formats())
