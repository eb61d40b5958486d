"""The tables of docs/choose.md: methods by equation, samplers by evaluations, backends by size, gradients by memory."""

import sdekit as sk

from . import solved
from .report import markdown, measured_on, read

EQUATIONS = {  # what is solved: kind of noise, and the calculus where it matters
    "additive noise": ("additive", None),
    "diagonal noise, Itô": ("diagonal", "ito"),
    "diagonal noise, Stratonovich": ("diagonal", "stratonovich"),
    "general noise, Itô": ("general", "ito"),
    "general noise, Stratonovich": ("general", "stratonovich"),
}
TARGETS = {
    "gaussian": "Gaussian with the digits' covariance",
    "eight": "eight Gaussians",
    "digits": "digits, as points",
}
POLICIES = {  # as docs/gradients.md names them: the task whose time was measured, and that whose memory was
    "`None`": ("heun", "heun"),
    "`checkpointed(every)`": ("heun, checkpointed(10)", "heun, checkpointed(√steps)"),
    "`reversible()`": ("heun, reversible", "heun, reversible"),
    "the same with `reversible_heun`": ("reversible_heun, reversible", "reversible_heun, reversible"),
    "`adjoint()`": ("heun, adjoint", "heun, adjoint"),
}


def usual(calculus):
    """What `solve` takes by itself where there is noise."""
    return sk.heun if calculus == "stratonovich" else sk.euler_maruyama


def serving(kind, calculus):
    """The methods that solve any equation with such noise, the usual one first."""
    yield usual(calculus)
    for method in (getattr(sk, name) for name in sk.methods.__all__):
        if not method.needs and kind in method.noise and calculus in (None, method.calculus):
            yield method


def order(method, of, kind):
    """What a method claims: its strong order for a kind of noise, or its weak order; 0 where nothing."""
    return (method.strong or {}).get(kind, 0) if of == "strong" else method.weak or 0


def cost(method):
    """Evaluations and normals of a step, in words."""
    words = [f"{method.drifts} drift{'s' * (method.drifts > 1)}"]
    words += [f"{method.normals} normal{'s' * (method.normals > 1)}"] if method.normals else []
    words += ["the Jacobian"] if method.jacobian else []
    words += ["Lévy areas"] if method.areas else []
    return ", ".join(words)


def best(of, kind, calculus):
    """The method of highest order, the first one where several have it."""
    method = max(serving(kind, calculus), key=lambda m: order(m, of, kind))
    return f"`{method.name}`: {of} {order(method, of, kind):g}; {cost(method)}"


def methods():
    """A method by the equation, from the records."""
    rows = []
    for words, (kind, calculus) in EQUATIONS.items():
        first = usual(calculus)
        first = f"`{first.name}`: strong {order(first, 'strong', kind):g}, weak {first.weak:g}; {cost(first)}"
        rows.append([words, first, *(best(of, kind, calculus) for of in ("strong", "weak"))])
    return markdown(["equation", "a first answer", "paths that matter", "averages that matter"], rows, right=4)


def without_noise():
    """The methods with steps of adaptive size for equations without noise, from the records."""
    pairs = [m for m in (getattr(sk, name) for name in sk.methods.__all__) if m.error_order and m.noise == ("none",)]
    rows = [[f"`{m.name}`", f"{m.order:g}", cost(m), "stiff" if m.jacobian else "not stiff"] for m in pairs]
    rows.sort(key=lambda row: int(row[1]))
    return markdown(["method", "order", "a step takes", "equations"], rows, right=4)


def samplers():
    """A sampler by evaluations: the most accurate one on VP and its log-SNR grid, for three targets."""
    cells, rows = read("nfe")["cells"], []
    for kind, words in (("ode", "without noise"), ("sde", "with noise")):
        for target, title in TARGETS.items():
            cell = cells[f"{target}-VP-{kind}"]
            found = [dict(zip(cell["columns"], row)) for row in cell["rows"]]
            metric = found[0]["metric"]
            found = [row for row in found if row["metric"] == metric and row["value"] is not None]
            budgets = sorted({row["budget"] for row in found})
            least = [min((r for r in found if r["budget"] == n), key=lambda r: r["value"]) for n in budgets]
            rows.append([f"{title}, {words}", metric, *(f"`{r['method']}` {r['value']:.2g}" for r in least)])
    return markdown(["target", "error", *(f"{n} evaluations" for n in budgets)], rows, right=2)


def plans():
    return solved.without_plan(read("solved")["cells"])


def backends():
    """Milliseconds by backend and number of paths."""
    result = read("backends")
    rows = [
        [f"{int(paths):,}", *(f"{1e3 * s:,.2g}" if s < 0.1 else f"{1e3 * s:,.0f}" for s in found.values())]
        for paths, found in result["seconds"].items()
    ]
    names = next(iter(result["seconds"].values()))
    first = ", ".join(f"{name} {result['first call'][name]:.1f} s" for name in names)
    return (
        markdown(["paths", *(f"{name}, ms" for name in names)], rows)
        + f"\n\nThe first call of a process: {first}.\n\n{measured_on(result)}"
    )


def policies():
    """What each policy of gradients keeps, and its time beside that of plain backpropagation."""
    result, rows = read("gradients"), []
    seconds = {row["name"]: row["seconds"] for row in result["neural"]["gradient"]}
    for name, (timed, kept) in POLICIES.items():
        held = result["neural"]["growth"][kept]
        megabytes = [f"{held[steps] / 1e6:,.1f}" if steps in held else "" for steps in ("100", "1000", "10000")]
        rows.append([name, *megabytes, f"{seconds[timed] / seconds['heun']:.1f}"])
    head = ["policy", "MB, 100 steps", "1,000", "10,000", "time, plain `heun` = 1"]
    return f"{markdown(head, rows)}\n\n{measured_on(result)}"
