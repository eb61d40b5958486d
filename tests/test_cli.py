"""The command line."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import sdekit as sk
from sdekit import __main__ as cli
from sdekit.app import simulate
from sdekit.drawing import formats

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

OU = ["simulate", "OU", "theta=2", "sigma=0.3", "--h", "0.05", "--times", "11", "--paths", "50"]


def test_simulate_writes_what_solve_returns(here, capsys):
    assert cli.main([*OU, "--x0=-1", "--until", "2", "--seed", "3", "--out", "ou.npz", "--plot", "ou.png"]) == 0
    ts = np.linspace(0, 2, 11)
    expected = sk.solve(sk.OU(theta=2.0, sigma=0.3), -1.0, ts, h=0.05, paths=50, seed=3)
    with np.load("ou.npz") as file:
        np.testing.assert_array_equal(file["t"], ts)
        np.testing.assert_array_equal(file["x"], expected.x)
        assert file["failed"].shape == (50,) and not file["failed"].any()
        settings = json.loads(str(file["settings"]))
    assert settings["process"] == "OU"
    assert settings["parameters"] == {"theta": 2.0, "mu": 0.0, "sigma": 0.3}
    assert (settings["x0"], settings["seed"], settings["method"]) == ([-1.0], 3, "euler_maruyama")
    assert (here / "ou.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in here.iterdir()) == ["ou.npz", "ou.png"]
    assert "(11, 50)" in capsys.readouterr().out


def test_simulate_repeats_itself_by_seed(here):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert cli.main([*OU, "--seed", seed, "--out", f"{name}.npz"]) == 0
    a, b, c = (np.load(f"{name}.npz")["x"] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a[1:] != c[1:]).all()


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


def test_simulate_takes_components_and_float32(here):
    args = ["simulate", "Lorenz", "--x0", "1,2,3", "--dtype", "float32", "--times", "3", "--paths", "4"]
    assert cli.main([*args, "--method", "heun", "--h", "0.01", "--out", "a.npz", "--plot", "a.svg"]) == 0
    x = np.load("a.npz")["x"]
    assert x.shape == (3, 4, 3) and x.dtype == np.float32
    np.testing.assert_array_equal(x[0], np.tile(np.float32([1, 2, 3]), (4, 1)))
    assert "<svg" in (here / "a.svg").read_text()


def test_simulate_reports_failed_paths(here, capsys):
    assert cli.main([*OU[:2], "theta=-1e30", *OU[4:], "--out", "a.npz", "--plot", "a.png"]) == 0
    assert "50 of 50 paths became non-finite" in capsys.readouterr().err
    assert np.load("a.npz")["failed"].all()


@pytest.mark.parametrize("name", sk.processes.__all__)
def test_each_process_has_settings(name):
    """Defaults fit each process: its own start, and times inside its domain."""
    arguments = cli.parser().parse_args(["simulate", name, "--out", "a.npz"])
    process = simulate.make_process(name, [])
    settings = simulate.settle(arguments, process)
    low, high = process.domain
    assert low <= settings.start < settings.until <= high
    assert json.loads(json.dumps(settings.parameters)) == settings.parameters
    assert len(simulate.state_names(process)) == len(settings.x0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["OUU"], ["unknown process 'OUU'", "OU", "Lorenz"]),
        (["OU", "teta=1"], ["'teta'", "theta, mu, sigma"]),
        (["OU", "theta"], ["'theta'", "NAME=VALUE"]),
        (["OU", "theta=one"], ["theta", "'one'"]),
        (["OU", "theta=1", "theta=2"], ["theta", "twice"]),
        (["OU", "sigma=-1"], ["sigma = -1.0"]),
        (["Linear", "a=1"], ["a of Linear", "not a number"]),
        (["OU", "--method", "huen"], ["unknown method 'huen'", "heun"]),
        (["OU", "--method", "rk4"], ["rk4", "noise"]),
        (["OU", "--x0", "1,2"], ["--x0", "OU: 1, not 2"]),
        (["OU", "--x0", "a"], ["--x0", "'a'"]),
        (["OU", "--h", "0"], ["h must be a real number, above 0"]),
        (["OU", "--times", "1"], ["--times"]),
        (["OU", "--until", "0"], ["--until"]),
        (["OU", "--until", "inf"], ["--until", "inf"]),
        (["OU", "--paths", "0"], ["paths"]),
        (["VP", "--until", "2"], ["domain", "VP"]),
        (["OU", "--plot", "a.docx"], ["a.docx", ".png"]),
        (["OU", "--plot", "nowhere/a.png"], ["no folder nowhere"]),
    ],
)
def test_simulate_explains_errors(arguments, words, here, capsys):
    assert cli.main(["simulate", *arguments, "--out", "a.npz"]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words) and "Traceback" not in error
    assert list(here.iterdir()) == []


def test_the_parser_rejects_with_status_2(capsys):
    for arguments in ([], ["nothing"], ["simulate", "OU"], ["simulate", "OU", "--h", "x", "--out", "a"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


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
