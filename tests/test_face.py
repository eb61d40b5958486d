"""What people and editors see: static names, signatures, docstrings, one line for each record."""

import inspect
import pydoc
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import sdekit as sk
from sdekit import reprs

ROOT = Path(__file__).parents[1]
METHODS = {name: getattr(sk, name) for name in sk.methods.__all__}
FAMILIES = {name: method for name, method in METHODS.items() if method.build is not None}


def editor(line):
    """jedi's view of a script of one's own that ends with this line."""
    jedi = pytest.importorskip("jedi")
    source = f"import sdekit as sk\n{line}"
    return jedi.Script(source, path=ROOT / "script.py", project=jedi.Project(ROOT)), source


# --- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_help_shows_formula_parameters_and_source(name):
    method = METHODS[name]
    text = pydoc.plain(pydoc.render_doc(method))
    assert inspect.getdoc(method.build or method.step) in inspect.getdoc(method)
    assert text.startswith(f"Python Library Documentation: Method in module {method.__module__}\n\n{name} = {name}\n")
    assert "Source: " in text or "transition" in method.needs
    parameters = f"{name}{inspect.signature(method)}"
    assert (inspect.getdoc(method).splitlines()[0] == parameters) == (name in FAMILIES)


def test_signatures_are_those_of_families_and_steps():
    assert str(inspect.signature(sk.unipc)) == str(inspect.signature(sk.unipc(3))) == "(order=2)"
    assert str(inspect.signature(sk.edm_heun)).startswith("(churn=0.0, steps=None, low=0.0")
    assert list(inspect.signature(sk.milstein).parameters) == ["sde", "t", "t1", "x", "h", "dw"]
    assert sk.unipc.__name__ == "unipc" and sk.unipc.__module__ == "sdekit.methods.multistep"
    assert len(FAMILIES) >= 9 and callable(sk.milstein)


@pytest.mark.parametrize("name", ["unipc", "ddim", "edm_heun", "annealed_langevin"])
def test_an_editor_offers_the_parameters_of_a_family(name):
    """Without running the package, and in a notebook, which has the object."""
    jedi = pytest.importorskip("jedi")
    method, parameters = METHODS[name], list(inspect.signature(METHODS[name]).parameters)
    script, _ = editor(f"sk.{name}(")
    for found in (script, jedi.Interpreter(f"sk.{name}(", [{"sk": sk}])):
        (signature,) = found.get_signatures()
        assert [parameter.name for parameter in signature.params] == parameters
        assert inspect.getdoc(method.build).splitlines()[0] in signature.docstring()
    complete = [completion.name for completion in script.complete()]
    assert f"{parameters[0]}=" in complete


@pytest.mark.parametrize("name", sorted({*sk.__all__} - {"__version__"}))
def test_an_editor_resolves_every_name(name):
    script, source = editor(f"sk.{name}")
    assert script.infer(2, len(source.splitlines()[1])), name


def test_an_editor_shows_the_formula_of_a_method():
    script, _ = editor("sk.milstein")
    (found,) = script.help(2, 5)
    assert "(dW² − |h|) / (2 √|h|)" in found.docstring()
    script, _ = editor("sk.unipc.")
    assert {"order", "weak", "strong", "drifts", "noise"} <= {completion.name for completion in script.complete()}


def test_a_family_says_what_it_takes():
    for call, message in (
        (lambda: sk.unipc(1, 2), r"method unipc\(order=2\): too many positional arguments"),
        (lambda: sk.unipc(steps=2), r"method unipc\(order=2\): got an unexpected keyword argument 'steps'"),
        (lambda: sk.ddim(eta=[0.5]), r"method ddim\(eta=0.0\): unhashable type: 'list'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@sk.methods.family
def shrinking(rate=1.0, *, power=2):
    """A family of one's own, with a parameter that has to be named."""

    @sk.method(noise="none", drifts=0)
    def shrinking(sde, t, t1, x, h):
        return x * (1 - rate * h) ** power

    return shrinking


def test_a_family_takes_named_parameters():
    import pickle

    assert shrinking(2.0, power=3) is shrinking(rate=2.0, power=3) is not shrinking(2.0, power=1)
    assert repr(shrinking(2.0, power=3)) == "shrinking(2.0, power=3)"
    assert pickle.loads(pickle.dumps(shrinking(power=3))) is shrinking(power=3)
    assert shrinking(1) is not shrinking(1.0)  # what the first call gave must not decide the second
    decay = sk.process(lambda t, x: -x, noise="none")
    assert sk.solve(decay, 1.0, [0, 0.5], shrinking(1, power=3), h=0.5, backend=sk.backends.numpy()).x[-1] == 0.125


# --- pyright -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_name_that_is_gone_is_an_error(tmp_path):
    """pyright (basic) on calls that are wrong, and on the same put right: `make lint` is not blind."""
    pytest.importorskip("basedpyright")
    wrong = ["sk.no_such_method", "sk.processes.Nothing", "sk.unipc(oder=3)", "sk.OU(rate=1.0)", "sk.scores.from_x(sk)"]
    right = ["sk.dpmpp_2m", "sk.processes.VP", "sk.unipc(order=3)", "sk.OU(theta=1.0)", "sk.scores.as_v"]
    (tmp_path / "script.py").write_text("\n".join(["import sdekit as sk", *wrong, *right]), encoding="utf-8")
    settings = f'{{"include": ["."], "extraPaths": ["{ROOT}"], "typeCheckingMode": "basic"}}'
    (tmp_path / "pyrightconfig.json").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = {int(line.split(":")[1]) for line in out.splitlines() if " - error: " in line}
    assert lines == set(range(2, 2 + len(wrong))), out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_script_of_uses_runs(capsys):
    """What pyright reads is true."""
    for name in ("torch", "zuko", "sklearn"):
        pytest.importorskip(name)
    runpy.run_path(str(ROOT / "tests" / "uses.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "predictor_corrector(ddim, langevin(0.16, 2))" in printed and "Guided(conditional=" in printed


# --- one line ------------------------------------------------------------------------------------


class Held(NamedTuple):
    """Whatever a record may hold."""

    value: Any
    rest: Any = None

    __repr__ = reprs.line


def double(t, x):
    return 2 * x


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.zeros((100, 3), np.float32), "float32[100, 3]"),
        (np.float64(0.5), "0.5"),
        (np.array(2), "2"),
        (0.1, "0.1"),
        (double, "double"),
        (len, "len"),
        (sk.unipc(3), "unipc(3)"),
        (Held(np.ones(2)), "Held(value=float64[2])"),
        ("a\nb" * 100, None),
        ([np.zeros((50, 50))], None),
    ],
)
def test_a_value_takes_one_line(value, shown):
    text = repr(Held(value))
    assert "\n" not in text and len(text) < 120
    assert shown is None or text == f"Held(value={shown})"


def test_scores_take_one_line():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.SiLU())
    vp, mask = sk.VP(), torch.tensor([True, False])
    score = sk.scores.from_noise(net, vp)
    assert repr(score) == f"Prediction(network=Sequential, process={vp!r}, to_pair=noise)"
    given = score.given(torch.zeros(4, 7))
    for made, words in (
        (given, "condition=float32[4, 7]"),
        (sk.scores.from_score(double, vp), "Prediction(network=double, process=VP("),
        (sk.scores.guided(given, score, 2.0), "Guided(conditional=Prediction(network=Sequential, "),
        (sk.scores.clipped(score), "lo=-1.0, hi=1.0)"),
        (sk.scores.inpainted(score, torch.zeros(2), mask), "known=float32[2], mask=bool[2])"),
        (sk.scores.on_path(score, sk.EDM()), "OnPath(score=Prediction("),
        (sk.scores.as_v(score), "read=as_v)"),
        (sk.scores.from_karras(net), "Prediction(network=Model(model=Sequential, sign=1.0), "),
    ):
        assert words in repr(made) and "\n" not in repr(made) and "Linear" not in repr(made)


def test_records_of_arrays_take_one_line():
    x = np.linspace(0.1, 1.0, 50)
    mixture = sk.GaussianMixture(np.ones(50) / 50, np.ones((50, 3)), stds=np.ones((50, 3)))
    tally = sk.ensemble(
        sk.OU(), 1.0, x, h=0.1, paths=8, seed=0, statistics=[sk.stats.moments, sk.stats.quantiles([0.1, 0.9])]
    )
    for made, words in (
        (sk.OU().transition(0.0, 1.0, x), "Normal(mean=float64[50], var="),
        (mixture, "GaussianMixture(weights=float64[50], means=float64[50, 3]"),
        (mixture.score(sk.VP()), "MixtureScore(process=VP("),
        (sk.Reverse(sk.VP(), sk.Empirical(np.ones((9, 2))).score(sk.VP())), "score=EmpiricalScore(process=VP("),
        (sk.Taken(x, error=x), "Taken(x=float64[50], error=float64[50]"),
        (tally.moments, "Moments(count=int64[50], mean=float64[50]"),
        (tally.quantiles, "Quantiles(levels=(0.1, 0.9), values=float64[2, 50]"),
    ):
        assert words in repr(made) and "\n" not in repr(made)
