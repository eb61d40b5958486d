"""work_precision, the exact flow, the record, its picture, and `benchmarks.samplers`; at small sizes."""

import dataclasses
import json
import math

import numpy as np
import pytest

import sdekit as sk
from benchmarks import samplers
from benchmarks.chart import _apart
from benchmarks.chart import work_precision as chart
from sdekit import convergence, grids
from sdekit.convergence import WorkPrecision, coupled_rmse, metrics, nfe, sliced_cramer, wasserstein, work_precision

PNG = b"\x89PNG\r\n\x1a\n"
VP = sk.VP()
PLANE = sk.Gaussian([0.5, -1.0], std=[0.5, 2.0])
MIXTURE = sk.GaussianMixture([0.4, 0.6], [[1.0, -1.0], [-1.0, 0.5]], stds=[0.2, 0.3])


# --- the exact flow ---


@pytest.mark.parametrize("process", [VP, sk.FlowPath(), sk.EDM(), sk.DiscreteVP()], ids=lambda p: type(p).__name__)
def test_the_flow_of_gaussian_data_is_known(process):
    """It keeps distances to the mean in units of the standard deviation; also from alpha = 0, and to sigma = 0."""
    start, (low, _) = process.domain[1], process.domain
    x = np.random.default_rng(0).normal(size=(30, 2))
    for end in (low + 0.3 * (start - low), process.finest, low):
        (a, s), (b, r) = process.marginal(start), process.marginal(end)
        at = a * PLANE.mean + np.hypot(a * PLANE.std, s) * x
        want = b * PLANE.mean + np.hypot(b * PLANE.std, r) * x
        found = convergence.reference_flow(process, PLANE.score(process), at, start, end)
        np.testing.assert_allclose(found, want, rtol=0, atol=2e-8)


def test_the_flow_follows_a_mixture_as_a_fine_solve_does():
    x = np.random.default_rng(1).normal(size=(50, 2))
    score = MIXTURE.score(VP)
    fine = sk.solve(sk.Reverse(VP, score, eta=0.0), x, grid=grids.log_snr(VP, 1500), method=sk.rk4, seed=0).x[-1]
    found = convergence.reference_flow(VP, score, x, 1.0, VP.finest)
    np.testing.assert_allclose(found, fine, rtol=0, atol=1e-6)
    loose = convergence.reference_flow(VP, score, x, 1.0, VP.finest, tol=1e-6)
    assert 0 < np.abs(loose - found).max() < 1e-4


def test_the_flow_keeps_type_and_shape():
    torch = pytest.importorskip("torch")
    x = torch.randn(5, 2)
    found = convergence.reference_flow(VP, MIXTURE.score(VP), x, 1.0, 0.0)
    assert found.shape == x.shape and found.dtype == torch.float32


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.9), (0.5, 0.5)])
def test_where_no_flow_starts(start, end):
    with pytest.raises(ValueError, match="start must be a time with noise, and another than end"):
        convergence.reference_flow(VP, MIXTURE.score(VP), np.ones((1, 2)), start, end)


# --- the measurement ---


def second(setting):
    """A metric of one's own: the error of the second moment."""
    exact = float((setting.law(setting.end).weights @ (setting.law(setting.end).means ** 2 + 0.1)).sum())
    return lambda run: abs(float((np.asarray(run.x) ** 2).sum(1).mean()) - exact)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("method", [sk.euler, sk.edm_heun, sk.rk4, sk.euler_maruyama, sk.dpmpp_2m], ids=repr)
def test_steps_fill_the_budget(method, final):
    budgets = (1, 4, 7, 12)
    record = work_precision(MIXTURE, VP, [method], budgets, second, samples=4, final=final)
    for row in record.rows:
        solved = sk.solve(
            sk.Reverse(VP, MIXTURE.score(VP), 1.0 if method.normals else 0.0),
            np.ones((2, 2)),
            grid=grids.log_snr(VP, row.steps, final=final),
            method=method,
            seed=0,
        )
        assert row.nfe == solved.nfe <= row.budget < row.nfe + method.drifts
    assert [row.budget for row in record.rows] == [b for b in budgets if b >= (1 if final else method.drifts)]


def test_errors_are_those_of_a_plain_solve():
    record = work_precision(MIXTURE, VP, [sk.ddim, sk.dpmpp_2m], (20, 10), coupled_rmse, samples=60, seed=3)
    clean = MIXTURE.sample(60, 3)
    alpha, sigma = VP.marginal(1.0)
    x0 = alpha * clean + sigma * sk.noise.normal((60, 2), 3, sk.noise.Stream.EXACT_START)
    end = convergence.reference_flow(VP, MIXTURE.score(VP), x0, 1.0, VP.finest)
    for row in record.rows:
        method = {"ddim": sk.ddim, "dpmpp_2m": sk.dpmpp_2m}[row.method]
        x = sk.solve(sk.Reverse(VP, MIXTURE.score(VP)), x0, grid=grids.log_snr(VP, row.steps), method=method, seed=0).x[
            -1
        ]
        assert row.value == pytest.approx(metrics.rmse(end)(x).value, rel=1e-9)
    assert [(row.method, row.budget) for row in record.rows[1:3]] == [("ddim", 20), ("dpmpp_2m", 10)]
    assert record.rows[1].value < record.rows[0].value and record.rows[3].value < 0.5 * record.rows[1].value


def test_starts_have_the_exact_law():
    """4.5 standard errors of mean and variance, four numbers: fails by chance once in 3e4."""
    seen = []

    def starts(setting):
        seen.append(setting)
        return lambda run: 0.0

    work_precision(PLANE, sk.FlowPath(), [sk.ddim], [1], starts, start=0.6, samples=20_000)
    law = metrics.law_at(PLANE, sk.FlowPath(), 0.6)
    x, std = seen[0].x0, law.stds[0]
    assert (np.abs(x.mean(0) - law.means[0]) < 4.5 * std / math.sqrt(20_000)).all()
    assert (np.abs(x.var(0) / std**2 - 1) < 4.5 * math.sqrt(2 / 20_000)).all()


def test_a_metric_on_an_exact_method_meets_its_floor():
    """400 steps of an SDE sampler have the law, within 4.5 standard errors: fails by chance once in 1e4."""
    laws = sliced_cramer, convergence.kernel_mmd
    record = work_precision(MIXTURE, VP, [sk.dpmpp_2m_sde], [400], laws, samples=4000)
    for row in record.rows:
        assert abs(row.value - row.floor) < 4.5 * row.stderr


def test_kl_and_rmse_of_one_run():
    pytest.importorskip("torch")
    record = work_precision(MIXTURE, VP, [sk.ddim], (5, 40), (coupled_rmse, convergence.flow_kl), samples=300)
    kl = record.of("flow_kl")["ddim"]
    assert record.metrics == ("coupled_rmse", "flow_kl") and kl[1].value < 0.1 * kl[0].value and kl[1].floor == 0


def test_w2_is_that_of_gaussian_law():
    record = work_precision(PLANE, VP, [sk.edm_heun, sk.ancestral], (6,), wasserstein, samples=2)
    for row, method in zip(record.rows, (sk.edm_heun, sk.ancestral)):
        law = convergence.gaussian_law(PLANE, VP, method, grids.log_snr(VP, row.steps), start="exact")
        assert row.value == law.w2(convergence.exact_law(PLANE, VP, VP.finest)) and row.stderr == 0


def test_digits_are_followed_point_by_point():
    data = np.random.default_rng(2).normal(size=(12, 5))
    record = work_precision(
        sk.Empirical(data), VP, [sk.unipc(2)], (4, 40), (coupled_rmse, convergence.misplaced), samples=40, tol=1e-8
    )
    few, many = record.of("misplaced")["unipc(2)"]
    assert few.value > many.value and many.value <= 0.1 and record.rows[0].floor == 1e-8
    classes = convergence.class_frequencies(np.arange(12) % 3)
    record = work_precision(sk.Empirical(data), VP, [sk.ancestral], (20,), classes, samples=50)
    assert record.rows[0].metric == "class_frequencies" and record.rows[0].floor == pytest.approx(2 / 50)


def test_a_score_and_a_metric_of_ones_own():
    score, x0 = PLANE.score(VP), np.random.default_rng(3).normal(size=(20, 2))

    def mean(setting):
        return lambda run: (float(run.x.mean()), 0.5)

    record = work_precision(score, VP, [sk.ddim, sk.ancestral], (5,), mean, x0=x0)
    assert [row.stderr for row in record.rows] == [0.5, 0.5] and record.samples == 20
    with pytest.raises(ValueError, match="give the starts x0"):
        work_precision(score, VP, [sk.ddim], (5,), second)


def test_methods_that_know_the_number_of_steps():
    def churned(steps):
        return sk.edm_heun(churn=0.1 * steps, steps=steps)

    record = work_precision(MIXTURE, VP, [churned], (8,), second, samples=10)
    assert record.rows[0].method == "churned" and record.rows[0].steps == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["ddim"]}, "methods must be Methods"),
        ({"methods": [sk.rk4]}, "no method is given that takes a step within them"),
        ({"methods": []}, "no method is given that takes a step within them"),
        ({"nfe": [0]}, "nfe must be an integer from 1"),
        ({"samples": 1}, "samples must be an integer >= 2"),
        ({"methods": [sk.ancestral]}, "the metric follows the flow, but ancestral draws noise"),
        ({"end": 2.0}, "end = 2.0"),
    ],
)
def test_nonsense_raises(change, message):
    given = {"methods": [sk.ddim], "nfe": [3], "metric": coupled_rmse, "samples": 10, **change}
    with pytest.raises(ValueError, match=message):
        work_precision(MIXTURE, VP, **given)


# --- the record ---


@pytest.fixture(scope="module")
def record():
    found = work_precision(MIXTURE, VP, [sk.ddim, sk.rk4], (3, 8), (coupled_rmse, second), samples=10)
    broken = found.rows[0]._replace(method="broken", value=math.nan, stderr=math.nan)
    return dataclasses.replace(found, rows=(*found.rows, broken))


def test_json_goes_there_and_back(record):
    text = record.to_json()
    again = WorkPrecision.from_json(text)
    assert again.to_json() == text and again.rows[:-1] == record.rows[:-1] and math.isnan(again.rows[-1].value)
    assert "NaN" not in text and json.loads(text)["columns"] == list(nfe.Row._fields)
    with pytest.raises(ValueError, match="holds no rows"):
        WorkPrecision.from_json('{"rows": []}')


def test_the_table_has_a_column_for_each_budget(record):
    lines = record.table().splitlines()
    assert lines[0] == "| coupled_rmse at NFE | 3 | 8 |" and {line.count("|") for line in lines} == {4}
    assert lines[2].startswith("| `ddim` | ") and lines[3].startswith("| `rk4` |  | ")
    assert lines[-1].startswith("| exact samples")
    assert "second" in record.table("second")


def test_the_picture(record, tmp_path):
    pytest.importorskip("matplotlib")
    chart(tmp_path / "a.png", record, title="two Gaussians")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_names_keep_apart():
    found = _apart(np.array([0.1, 0.1, 0.11, 0.5]), 0.05)
    assert (np.diff(found) >= 0.05 - 1e-12).all() and found[3] == 0.5
    assert found[:3].mean() == pytest.approx(np.mean([0.1, 0.1, 0.11]))


# --- the command ---


@pytest.fixture
def small(monkeypatch, tmp_path):
    for module in ("torch", "matplotlib", "sklearn"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    return ["--methods", "ddim, unipc(order=3), ancestral", "--nfe", "4,8", "--samples", "30"]


@pytest.mark.parametrize(
    ("target", "metrics"),
    [
        ("eight", ["coupled_rmse", "flow_kl", "sliced_cramer", "kernel_mmd"]),
        ("digits", ["coupled_rmse", "misplaced", "class_frequencies"]),
        ("gaussian", ["wasserstein-ode", "wasserstein-sde"]),
    ],
)
def test_the_command(target, metrics, small, tmp_path, capsys):
    assert samplers.main([*small, "--target", target, "--process", "VP(beta_max=10)", "--out", "new/folder"]) == 0
    printed = capsys.readouterr().out
    assert "| `unipc(3)` | " in printed and "beta_max=10" in printed
    stem = f"nfe-{target}-VP-"
    names = {f"{stem}{m}.png" for m in metrics} | {f"{stem}ode.json", f"{stem}sde.json"}
    made = tmp_path / "new" / "folder"
    assert {file.name for file in made.iterdir()} == names
    again = WorkPrecision.from_json((made / f"{stem}ode.json").read_text())
    assert {row.method for row in again.rows} == {"ddim", "unipc(3)"} and again.table() in printed
    assert samplers.main([*small, "--target", target, "--process", "VP(beta_max=10)", "--out", "new/folder"]) == 2
    assert "--force" in capsys.readouterr().err


def test_the_command_without_a_folder_writes_nothing(small, tmp_path):
    assert samplers.main([*small, "--process", "FlowPath", "--grid", "uniform", "--final"]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--methods", "dimm"], ["unknown method 'dimm'", "ddim"]),
        (["--methods", "ddim("], ["cannot be read", "ddim("]),
        (["--methods", "ddim(2)"], ["eta must be a real number"]),
        (["--methods", "euler(1)"], ["euler has no parameters"]),
        (["--methods", "ddim(open)"], ["ddim(open)"]),
        (["--process", "Lorenz"], ["Lorenz", "VP, FlowPath or EDM"]),
        (["--process", "VPP"], ["unknown process 'VPP'"]),
        (["--nfe", "5,x"], ["--nfe", "'x'"]),
        (["--nfe", "0"], ["nfe must be an integer from 1"]),
        (["--samples", "1"], ["samples must be"]),
    ],
)
def test_the_command_explains_errors(given, words, small, tmp_path, capsys):
    assert samplers.main([*small, *given, "--out", "a"]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words) and "Traceback" not in error
    assert not (tmp_path / "a").exists()


def test_default_methods_exist():
    for text in (samplers.FLOW, samplers.NOISY):
        assert all(bool(m.normals) == (text is samplers.NOISY) for m in samplers.named("method", text, sk.methods))
