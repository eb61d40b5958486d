"""The demonstration and its parts, at small sizes."""

import re
import sys

import numpy as np
import pytest

import sdekit as sk
from benchmarks import demo

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_missing_library_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.datasets", raising=False)
    assert demo.main(["--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "scikit-learn is not installed" in error and "sdekit[demo]" in error


def test_demo_at_small_size(tmp_path, capsys):
    """All of it runs and draws; on the reference backend, so that nothing has to be compiled."""
    pytest.importorskip("torch")
    small = {"paths": 400, "steps": 250, "starts": 16, "samples": 32, "budgets": (4, 8), "fine": 8}
    demo.run(tmp_path / "demo", **small, backend=sk.backends.numpy())
    drawn = sorted((tmp_path / "demo").iterdir())
    assert [path.name for path in drawn] == ["digits.png", "error.png", "lorenz.png", "paths.png"]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)
    printed = capsys.readouterr().out
    assert all(f"\n   {name} " in printed for name in ("OU", "GBM", "VP", "Lorenz"))
    assert "path-steps/s" in printed and "exact draws" in printed


def scores(lines):
    return [float(re.search(r"z = (.+)", line)[1]) for line in lines]


@pytest.mark.parametrize("case", demo.cases()[:3], ids=lambda case: type(case[0]).__name__)
def test_law_scores_the_closed_form(case):
    """Exact draws: |z| < 4.5 fails by chance once in 1e5. A shift by 10 standard errors is seen."""
    process, x0, until, _, title = case
    z = sk.noise.normal((20_000,), seed=1)
    exact = process.transition(0.0, until, x0)
    result = demo.Result(process, x0, np.array([0.0, until]), None, exact.sample(z), title)
    assert np.abs(scores(demo.law(result))).max() < 4.5
    shifted = exact.sample(z) + 10 * exact.std / np.sqrt(len(z))
    assert scores(demo.law(result._replace(x=shifted)))[0] > 5.5
    wide = exact.mean + 1.2 * (exact.sample(z) - exact.mean)
    assert scores(demo.law(result._replace(x=wide)))[1] > 5.5


def test_symmetry_scores_lorenz():
    """|z| < 4.5 for three moments fails by chance once in 5e4; paths off the axis are seen."""
    process, x0, _, method, title = demo.cases()[3]
    settings = {"paths": 2000, "steps": 100, "backend": sk.backends.numpy()}
    result = demo.simulate(process, x0, 1.0, method, title, **settings)
    assert np.abs(scores(list(demo.symmetry(result))[:3])).max() < 4.5
    tilted = demo.simulate(process, (1.0, 1.0, 25.0), 1.0, method, title, **settings)
    assert np.abs(scores(list(demo.symmetry(tilted))[:3])).max() > 5.5


def test_the_grid_falls_from_one_to_the_last_time():
    times = demo.grid(7)
    assert (len(times), times[0], times[-1]) == (8, 1.0, demo.LAST)
    assert (np.diff(times) < 0).all()


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("sklearn")
    return demo.digit_data()


def test_digit_data(data):
    images, labels = data
    assert images.shape == (1797, 64) and (images.min(), images.max()) == (-1, 1)
    assert sorted(set(labels)) == list(range(10))


def test_judge(data):
    """The data are at distance 0; draws of the target are at the bandwidth (standard error 0.5 %)."""
    images, labels = data
    distance, level = demo.judge(images, images, labels)
    assert distance == 0 and abs(level + 1) < 1e-6
    draws = sk.targets.Empirical(images, demo.BANDWIDTH).sample(300, seed=0)
    assert abs(demo.judge(draws, images, labels)[1]) < 0.03
    only_threes = demo.judge(images[labels == 3], images, labels)[0]
    assert only_threes == pytest.approx(1 - np.mean(labels == 3))


def test_flow_converges_and_counts(data):
    pytest.importorskip("torch")
    rows, last = demo.flow(data[0], 24, (8, 32), 24)
    assert last.shape == (24, 64)
    for name, gain in (("Euler", 2.5), ("Heun", 5)):  # 4 and 16 at small steps
        (few, _, coarse), (many, _, fine) = rows[name]
        assert (few, many) == (8, 32) and coarse > gain * fine
    assert rows["Heun"][1][2] < rows["Euler"][1][2]


def test_reverse_approaches_the_noise_level(data):
    pytest.importorskip("torch")
    rows, floor, last = demo.reverse(*data, 40, (8, 32))
    assert set(rows) == set(last) == {"Euler–Maruyama", "Predictor–corrector"}
    for (few, _, coarse), (many, _, fine) in rows.values():
        assert (few, many) == (8, 32) and abs(fine) < abs(coarse) / 2
    assert len(floor[0]) == 10 and 0 < floor[1] < 0.1
