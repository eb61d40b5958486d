"""Wasserstein errors of five schemes on Gaussian data, exact, in the form of Pierret and Galerne's table.

    python -m benchmarks.pierret          # writes benchmarks/results/pierret.json and prints the table in Markdown

E. Pierret, B. Galerne, "Diffusion models for Gaussian distributions: exact solutions and Wasserstein errors", ICML
2025, arXiv:2405.14250. VP with beta from 0.1 to 20 (they halve beta and write √(2 beta) dW), N equal steps from t = 1
to ε, the distance W2 to the data, started at the law p_T of x_1 or at N_0 = N(0, I). The data here: the covariance of
scikit-learn's digits, pixels/8 − 1, plus 1e-4·I, centred.

Where this differs from theirs. They put N points on [ε, 1], hence N − 1 steps. Their DDPM has beta_k = beta(t_k)/N, the
score of the continuous process and noise of variance beta_k: that is `ddpm` below; `ancestral` has the exact marginals
and the variance of x_{t1} given x_t and x_0. At ε = 0 a last step that would evaluate the drift or the signal-to-noise
ratio at sigma = 0 returns the denoised state D: so do EI, `ancestral` and Heun, and theirs do not.
"""

import json
import math
import time
from pathlib import Path

import numpy as np

import sdekit as sk
from benchmarks import report
from sdekit.convergence import exact_law, gaussian_law
from sdekit.files import write_text

PROCESS = sk.VP()
STEPS = (50, 250, 500, 1000)
ENDS = (0.0, 1e-5, 1e-3, 1e-2)
STARTS = ("p_T", "N_0")
RESULTS = Path(__file__).parent / "results" / "pierret.json"


@sk.method(noise=("none", "additive"), needs=("score",))
def ddpm(sde, t, t1, x, h, dw):
    """DDPM as Pierret and Galerne have it:  x' = (x + b ∇log p_t(x))/√(1 − b) + √b z,   b = |h| beta(t)."""
    b = abs(h) * sde.process.process.beta(t)
    return (x + b * sde.process.score(t, x)) / math.sqrt(1 - b) + math.sqrt(b / abs(h)) * dw


SCHEMES = {
    "SDE": {"EM": sk.euler_maruyama, "EI": sk.exponential_euler, "DDPM": ddpm, "DDPM, ancestral": sk.ancestral},
    "ODE": {"Euler": sk.euler, "Heun": sk.heun},
}


def digits():
    """The Gaussian with the digits' covariance, regularised, centred."""
    from sklearn.datasets import load_digits

    pixels = load_digits().data / 8 - 1
    return sk.Gaussian(np.zeros(64), np.cov(pixels, rowvar=False, bias=True) + 1e-4 * np.eye(64))


def start(target, name):
    """The law p_T, or N(0, I)."""
    law = exact_law(target, PROCESS, 1.0)
    return law if name == "p_T" else law._replace(std=np.ones_like(law.std))


def continuous(target, equation, end, first):
    """The law at `end` of the reverse SDE or of its flow, solved exactly from the law `first` at t = 1.

    With v_t the variances of x_t, a = e^{−∫beta/2} from `end` to 1 and v those of `first`:
        SDE  v_end + (a v_end/v_1)² (v − v_1),     ODE  v v_end/v_1
    """
    v1, at_end = exact_law(target, PROCESS, 1.0).std ** 2, exact_law(target, PROCESS, end)
    v_end, v = at_end.std**2, first.std**2
    if equation == "ODE":
        return at_end._replace(std=np.sqrt(v * v_end / v1))
    a = PROCESS.marginal(1.0)[0] / PROCESS.marginal(end)[0]
    return at_end._replace(std=np.sqrt(v_end + (a * v_end / v1) ** 2 * (v - v1)))


def measure(target):
    """W2 to the data by equation, scheme, truncation and start: one list over "continuous" and STEPS each."""
    data = exact_law(target)
    table = {}
    for equation, schemes in SCHEMES.items():
        for name, method in schemes.items():
            for end in ENDS:
                for begin in STARTS:
                    first = start(target, begin)
                    row = [continuous(target, equation, end, first).w2(data)]
                    for n in STEPS:
                        grid = np.linspace(1.0, end, n + 1)
                        row.append(gaussian_law(target, PROCESS, method, grid, start=first).w2(data))
                    table.setdefault(f"{name} ({equation})", {}).setdefault(f"{end:g}", {})[begin] = row
    return table


def markdown(results):
    """The table: a line for each scheme and truncation, and for each number of steps both starts."""
    columns = ["continuous", *(f"N = {n}" for n in results["steps"])]
    head = "| scheme | ε | " + " | ".join(f"{c}, {s}" for c in columns for s in STARTS) + " |"
    lines = [head, "|---|---|" + "---|" * (len(columns) * len(STARTS))]
    for scheme, rows in results["w2"].items():
        for end, row in rows.items():
            cells = (f"{row[s][i]:.3g}" for i in range(len(columns)) for s in STARTS)
            lines.append(f"| {scheme} | {end} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    begin = time.perf_counter()
    w2 = measure(digits())
    results = {
        "target": "Gaussian, centred, covariance of the digits' pixels/8 - 1 plus 1e-4 I",
        "process": "VP, beta 0.1 to 20, uniform t",
        "steps": STEPS,
        "seconds": round(time.perf_counter() - begin, 1),
        "machine": report.machine(),
        "versions": report.versions(),
        "w2": w2,
    }
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    print(markdown(results))


if __name__ == "__main__":
    main()
