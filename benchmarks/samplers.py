"""`python -m benchmarks.samplers`: accuracy of samplers against network evaluations, on targets with exact scores."""

import argparse
import ast
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdekit import convergence, grids, methods, processes
from sdekit.drawing import load
from sdekit.files import write_text
from sdekit.targets import Empirical, Gaussian

from . import chart

FLOW = (
    "euler, ddim, edm_heun, dpm_solver(2), dpm_solver(3), dpmpp_2m, dpmpp_3m, unipc(2), unipc(3), deis(2), "
    "deis(3), lms(3)"
)
NOISY = "euler_maruyama, heun, sra1, ancestral, exponential_euler, dpmpp_sde, dpmpp_2m_sde, predictor_corrector"
TOLERANCE = 1e-8  # of the exact flow: far below any error here
RIDGE = 1e-4  # added to the digits' covariance: pixels that never change have variance 0


# --- targets -------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A target; for methods without and with noise, the metrics and how many samples the command draws."""

    title: str
    target: Any
    metrics: tuple[tuple, tuple]
    samples: tuple[int, int] = (0, 0)


def gaussian():
    """N(mean, covariance + 1e-4) of the digits: all errors are exact."""
    images, _ = digit_data()
    target = Gaussian(images.mean(0), cov=np.cov(images.T, bias=True) + RIDGE * np.eye(images.shape[1]))
    return Case("Gaussian with the digits' covariance", target, ((convergence.wasserstein,),) * 2)


def eight():
    """Eight Gaussians of standard deviation 0.2 on a circle of radius 2."""
    angle = np.arange(8) * (math.pi / 4)
    points = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    flow, noisy = (convergence.coupled_rmse, convergence.flow_kl), (convergence.sliced_cramer, convergence.kernel_mmd)
    return Case("8 Gaussians", Empirical(points, 0.2), (flow, noisy), (2_000, 50_000))


def digits():
    """The 1,797 handwritten digits themselves, without blur."""
    images, labels = digit_data()
    flow, noisy = (convergence.coupled_rmse, convergence.misplaced), (convergence.class_frequencies(labels),)
    return Case("digits", Empirical(images), (flow, noisy), (200, 400))


TARGETS = {"gaussian": gaussian, "eight": eight, "digits": digits}


def digit_data():
    """scikit-learn's digits, pixels (1797, 64) as data/8 − 1, and the labels (1797,)."""
    bunch = load("sklearn.datasets").load_digits()
    return bunch.data / 8 - 1, bunch.target


# --- the command ---------------------------------------------------------------------------------

EPILOG = """\
Methods and processes are written as in Python: "dpmpp_2m, unipc(3), ddim(eta=0.5)", "VP(beta_max=10)".
Methods without noise follow the probability-flow ODE and are compared with the exact flow from the same
starts, methods with noise by the law of their samples; a Gaussian target needs no samples. Starts are drawn
from the exact law. Prints a table for each metric; the folder gets the rows as .json, a .png for each metric.
"""


def main(argv=None):
    """Measure; returns the exit status: 0, 2 for arguments that make no sense."""
    text = "Error of samplers against network evaluations (NFE), on targets with exact scores."
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.samplers", None, text, EPILOG, formatter_class=plain)
    option = parser.add_argument
    option("--target", default="eight", choices=TARGETS, help="(%(default)s)")
    option("--process", default="VP", metavar="NAME", help="noising process (%(default)s)")
    option("--methods", default=f"{FLOW}, {NOISY}", metavar="A,B,…", help="(%(default)s)")
    option("--nfe", default="5,10,20,50", metavar="N,N,…", help="budgets (%(default)s)")
    option("--grid", default="log_snr", choices=grids.__all__, help="spacing of the times (%(default)s)")
    option("--final", action="store_true", help="end with a step to sigma = 0, which returns the denoised state")
    option("--samples", type=int, metavar="N", help="(eight: 2000, 50000 with noise; digits: 200, 400 with noise)")
    option("--seed", type=int, default=0, metavar="N", help="of starts and noise (%(default)s)")
    option("--out", type=Path, metavar="FOLDER", help="where files go; made if need be. Without it none are written")
    option("--force", action="store_true", help="replace files that exist")
    try:
        nfe(parser.parse_args(argv))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"python -m benchmarks.samplers: error: {error}", file=sys.stderr)
        return 2
    return 0


def nfe(arguments):
    """Check everything, measure, print tables, write files."""
    for module in ("torch", "matplotlib"):
        load(module)
    process = named("process", arguments.process, processes)[0]
    chosen = named("method", arguments.methods, methods)
    budgets = [whole("--nfe", part) for part in arguments.nfe.split(",")]
    if not hasattr(process, "marginal"):
        raise ValueError(f"--process {arguments.process} turns no data into noise; try VP, FlowPath or EDM")
    case = TARGETS[arguments.target]()
    stem = f"nfe-{arguments.target}-{type(process).__name__}"
    groups = [(noisy, group) for noisy in (False, True) if (group := [m for m in chosen if bool(m.normals) == noisy])]
    outputs = [files(arguments, stem, case, noisy) for noisy, _ in groups]
    settings = {"grid": getattr(grids, arguments.grid), "final": arguments.final, "seed": arguments.seed}
    for (noisy, group), output in zip(groups, outputs, strict=True):
        clock = time.perf_counter()
        record = measure(case, noisy, process, group, budgets, arguments.samples, **settings)
        for metric in record.metrics:
            print(f"\n{case.title}, {record.process}\n\n{record.table(metric)}")
        print(f"\n{time.perf_counter() - clock:.0f} s", flush=True)
        write(record, case, output)


def measure(case, noisy, process, chosen, budgets, samples=None, **settings):
    """`work_precision` of methods with or without noise on a `Case`, in torch's float64."""
    torch = load("torch")
    target = case.target
    if isinstance(target, Empirical):
        target = target._replace(data=torch.as_tensor(target.data))
    if isinstance(target, Gaussian):
        like, samples = None, 2  # only to count evaluations
    else:
        like, samples = torch.empty(0, dtype=torch.float64), case.samples[noisy] if samples is None else samples
    return convergence.work_precision(
        target, process, chosen, budgets, case.metrics[noisy], samples=samples, like=like, tol=TOLERANCE, **settings
    )


def files(arguments, stem, case, noisy):
    """The files of a group of methods, {metric: .png} and {"": .json}; raises where one exists already."""
    if arguments.out is None:
        return {}
    names = [metric.__name__ for metric in case.metrics[noisy]]
    made = {"": f"{stem}-{'sde' if noisy else 'ode'}.json", **{name: f"{stem}-{name}.png" for name in names}}
    if isinstance(case.target, Gaussian):
        made = {key: name.replace(".png", f"-{'sde' if noisy else 'ode'}.png") for key, name in made.items()}
    made = {key: arguments.out / name for key, name in made.items()}
    for file in made.values():
        if file.exists() and not arguments.force:
            raise ValueError(f"{file} exists already; give another folder, or --force to replace it")
    return made


def write(record, case, output):
    for key, file in output.items():
        if key:
            file.parent.mkdir(parents=True, exist_ok=True)
            chart.work_precision(file, record, key, case.title)
        else:
            write_text(file, record.to_json() + "\n")
        print(f"{file}: written")


# --- arguments -----------------------------------------------------------------------------------


def named(what, text, module):
    """Objects of a module from a text such as "dpmpp_2m, unipc(3), ddim(eta=0.5)"; classes are called."""
    try:
        nodes = ast.parse(f"({text},)", mode="eval").body.elts
        return [_object(what, node, module) for node in nodes]
    except (SyntaxError, TypeError) as error:
        raise ValueError(f"{what} {text!r} cannot be read ({error}); write names such as {module.__all__[0]}") from None


def _object(what, node, module):
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    name = ast.unparse(call.func)
    if name not in module.__all__:
        raise ValueError(f"unknown {what} {name!r}; there are {', '.join(module.__all__)}")
    found = getattr(module, name)
    if node is not call and not isinstance(found, type):
        return found
    try:
        positional = [ast.literal_eval(value) for value in call.args]
        named = {key.arg: ast.literal_eval(key.value) for key in call.keywords}
    except ValueError:
        raise ValueError(f"{what} {ast.unparse(node)!r} has an argument that is no number") from None
    return found(*positional, **named)


def whole(name, text):
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be whole numbers with commas between, got {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
