"""The tables of result files that have no module of their own for it."""

import textwrap

import sdekit as sk

from . import report
from .report import markdown, measured_on, read

OURS = "sdekit, OU"
HEADLINE = {  # contenders of the front page
    "sdekit, OU": "sdekit",
    "torch loop, best of several forms": "a loop in torch, the best of several forms",
    "JAX scan": "`jax.lax.scan`",
    "diffrax, batch as one state, UnsafeBrownianPath": "diffrax, its fastest form",
    "torchsde, best of several forms": "torchsde, its fastest form",
}
PAYOFFS = {
    "call": "call",
    "digital": "digital call",
    "asian": "Asian option",
    "cir": "CIR",
    "heston": "Heston, call",
    "barrier": "OU with a barrier",
}


def headline():
    """Path steps a second of a few contenders."""
    result, rows = read("throughput"), []
    ours, work = result["contenders"][OURS]["rate"], result["work"]
    for name, words in HEADLINE.items():
        rate = result["contenders"][name]["rate"]
        rows.append([words, f"{rate / 1e6:,.0f}", "" if name == OURS else f"{ours / rate:.1f} ×"])
    head = ["Ornstein–Uhlenbeck, Euler–Maruyama, float32", "million path steps/s", "sdekit is faster by"]
    size = f"{work['paths']:,} paths × {work['steps']:,} steps"
    return f"{markdown(head, rows)}\n\n{size} on {work['threads']} threads, {result['machine']['cpu']}."


def throughput():
    result = read("throughput")
    return report.table(result, OURS, [name for name in result["contenders"] if not name.startswith("sdekit")])


def duration(seconds):
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.1f} ms"


def core():
    """Solves of every size."""
    result = read("core")
    beside = {"linear equation, 2,097,152 × 256": [f"{k}: {duration(v)}" for k, v in result["published"].items()]}
    rows = [
        [name, duration(median), duration(result["first_call"][name]), ", ".join(beside.get(name, []))]
        for name, median in result["median"].items()
    ]
    head = ["paths × steps", "takes", "its first call", "published beside it"]
    return f"{markdown(head, rows)}\n\n{measured_on(result)}"


def overhead():
    result = read("overhead")
    rows = [
        [f"`{name}`", f"{1e3 * row['seconds']:.2f}", f"{1e3 * row['limit']:.2f}", f"{row['share']:.2f}"]
        for name, row in result["methods"].items()
    ]
    note = f"one pass {1e3 * result['pass']:.3f} ms, one draw of normals {1e3 * result['normals']:.2f} ms"
    table = markdown(["method", "ms a step", "limit", "share"], rows)
    return f"{table}\n\n*{note}, {result['threads']} threads.* {measured_on(result)}"


def orders():
    """The orders that the records claim, and what was measured."""
    rows = []
    for entry in read("orders")["results"]:
        method, kind = getattr(sk, entry["method"], None), entry["order"]
        if method is None:
            continue
        strong = (method.strong or {}).get(entry["noise"])
        claimed = {"strong": strong, "weak": method.weak, "deterministic": method.order}[kind]
        noise = "" if kind == "deterministic" else entry["noise"]
        error = f" ± {entry['stderr']:.3f}" if entry["stderr"] >= 5e-4 else ""
        measured = f"{entry['measured']:.3f}{error}"
        rows.append([f"`{method.name}`", kind, noise, f"`{entry['process']}`", f"{claimed:g}", measured])
    head = ["method", "order", "noise", "problem", "claimed", "measured"]
    return f"{markdown(head, rows, right=4)}\n\n{measured_on(read('orders'))}"


def elementary():
    """The largest error of each elementary function over all numbers of float32."""
    result = read("ulp")
    rows = [[f"`{name}`", f"{row['ulp']:.2f}", f"{row['at']:.9g}"] for name, row in result["functions"].items()]
    return f"{markdown(['function', 'largest error, ulp', 'at'], rows)}\n\n{measured_on(result)}"


def bits():
    """The processors on which the hashes were asked for, and the hashes of both kinds."""
    rows, kinds = [], {}
    for cpu, found in read("bits").items():
        for target, entry in found["compiled for"].items():
            hashes = kinds.setdefault(entry["fma"], entry["hashes"])
            same = sum(hashes.get(case) == digest for case, digest in entry["hashes"].items())
            fused, numba = "yes" if entry["fma"] else "no", found["versions"]["numba"]
            rows.append([cpu, f"`{target}`", f"{entry['vectors']} bits", fused, f"{same} of {len(hashes)}", numba])
    head = ["processor", "compiled for", "vectors", "fused multiply-add", "equal to those below", "numba"]
    kinds = [kinds.get(fma, {}) for fma in (True, False)]
    digests = [[case, *(f"`{kind.get(case, '')[:16]}`" for kind in kinds)] for case in max(kinds, key=len)]
    below = markdown(["solve", "SHA-256, fused", "SHA-256, not fused"], digests, right=3)
    return f"{markdown(head, rows, right=6)}\n\n{below}"


def paragraph(text):
    """A text in lines as those beside it."""
    return textwrap.fill(text, 120, break_on_hyphens=False)


def stiff():
    """Evaluations and errors beside scipy."""
    result, rows = read("stiff"), []
    titles = {"VanDerPol": "Van der Pol, mu = 1000, t = 2000", "Robertson": "Robertson, t = 1e5", "Hires": "HIRES"}
    for name, found in result["problems"].items():
        errors = [f"{row['error / tol'] * result['tol']:.1e}".replace("e-0", "e-") for row in found.values()]
        cells = [f"{row['evaluations']:,}; {error}" for row, error in zip(found.values(), errors)]
        rows.append([titles[name], *cells])
    return markdown(["equation", "`rodas5p`", "Radau", "LSODA"], rows, right=4)


def stiff_ensemble():
    """Many systems at once, beside loops over scipy."""
    found = read("stiff")["ensemble"]
    times = found["faster than a loop of"]
    radau, lsoda = (f"{round(times[name], -2):,.0f}" for name in ("Radau", "LSODA"))
    return paragraph(
        f"{found['systems']:,} systems of Robertson's with other rates, at `Tolerance(1e-6, 1e-8)` on two cores: "
        f"{radau} times faster than a loop of Radau and {lsoda} times faster than one of LSODA, loops that were timed "
        f"on {found['sample of the loops']} of the systems and scaled. Of a single system numpy steps take longer than "
        f"scipy's. Of the many {found['failed']} fail, and {found['failed at rtol = atol = 1e-6']} at rtol = atol = "
        "1e-6, where an error makes the second component negative."
    )


def pairs():
    """Explicit pairs beside scipy's."""
    result = read("adaptive")
    orbit, medians = result["arenstorf"], [result["detest"][name]["median"] for name in ("RK45", "DOP853")]
    errors, evaluations = (" and ".join(f"{m[i]:.2f}" for m in medians) for i in (0, 1))
    return paragraph(
        f"At tol 1e-9 `dop853` takes {orbit['evaluations']:,} evaluations along that orbit, which closes to "
        f"{orbit['distance']:.0e}. Over the 25 equations of Hull et al. (1972) and tolerances 1e-3 … 1e-10 the median "
        f"error of `dopri5` and `dop853` is {errors} of scipy's, at {evaluations} of its evaluations "
        "(`python -m benchmarks.adaptive`)."
    )


def areas():
    """Methods for noises that do not commute."""
    result, rows = read("areas"), []
    for noises, costs in result["seconds"].items():
        for h, row in costs.items():
            plain, *others = row.values()
            rows.append([f"{noises} noises", h, f"{1e9 * plain:.0f} ns", *(f"{x / plain:.1f} ×" for x in others)])
    head = ["two components, numba", "h", "Euler–Maruyama", "`milstein_general`", "`ri6`"]
    plain, fine = result["errors"].values()
    note = paragraph(
        "Processor time of a step of a path on one core, in float64. The strong error of the equation with four noises "
        f"at h = 1/16 is {fine['16']:.3f} by `milstein_general` and {plain['16']:.3f} by Euler–Maruyama, which at "
        f"h = 1/128 has {plain['128']:.3f} (`python -m benchmarks.areas`)."
    )
    return f"{markdown(head, rows, right=1)}\n\n{note}"


def expected():
    """What a tolerance costs."""
    rows = []
    for name, problem in read("expectations")["problems"].items():
        slope, gain = f"{problem['rates']['slope']:.2f}".replace("-", "−"), problem["rates"]["gain"]
        rows.append([PAYOFFS[name], slope, *(f"{float(f'{gain[tol]:.1g}'):,.0f}" for tol in ("0.001", "0.0001"))])
    return markdown(["", "cost goes as tol to", "one level of Euler–Maruyama costs more at 1e-3 by", "at 1e-4"], rows)


def held():
    """How often tolerances hold, and what they take."""
    rows, tolerances, result = [], ("1e-2", "1e-3", "1e-4"), read("expectations")
    for name, problem in result["problems"].items():
        for way, found in problem["seeds"].items():
            ones = [found.get(str(float(tol))) for tol in tolerances]
            cells = [f"{one['within']} of {one['seeds']}, {one['cpu_seconds']:.2g} s" if one else "" for one in ones]
            rows.append([PAYOFFS[name], way, *cells])
    raced = {PAYOFFS[name]: one["torchsde"] for name, one in result["problems"].items() if "torchsde" in one}
    words = [f"{name} {one['seconds']:.2g} s and {one['torchsde']:.0f} s" for name, one in raced.items()]
    note = paragraph(
        f"Time at 1e-3 on {result['machine']['cores']} cores, stepped, and of one level of Euler–Maruyama by the "
        f"better of two loops on torchsde: {', '.join(words)}."
    )
    return f"{markdown(['', 'way', *(f'tol {tol}' for tol in tolerances)], rows, right=2)}\n\n{note}"


def noisy_steps():
    """What adaptive steps along the noise save."""
    rows = []
    for name, found in read("noisy_steps")["against fixed steps"].items():
        rows.append(
            [name.replace("sigma", "σ"), *(f"{more:.1f} (error {error:.1g})" for _, error, _, more in found["rows"])]
        )
    tolerances = [f"tol {tol:g}" for tol, *_ in found["rows"]]
    return markdown(["", *tolerances], rows)


def ensembles():
    """What large ensembles are, and what they have been through."""
    found = read("ensembles")
    whole, overhead, bits, kills, store = (found[part] for part in ("whole", "overhead", "bits", "kills", "store"))
    same = {True: "the same", False: "not the same"}
    pools = ", ".join(name for name in bits if name not in ("paths", "here", "equal"))
    more, longer = (100 * overhead[ratio] - 100 for ratio in ("cpu_ratio", "ratio"))
    lines = [
        f"{one['paths']:,} paths of 100 steps take {one['seconds']:.0f} s and {one['peak_MiB']:.0f} MiB beyond the "
        f"import; mean, variance and three quantiles are within {max(one['deviation'].values()):.1f} of their bounds."
        for one in whole.values()
    ] + [
        f"Statistics take {more:.0f} % more of the processors than the solves alone, and {longer:.0f} % more time.",
        f"The bits of {bits['paths']:,} paths on {pools}: {same[bits['equal']]}.",
        f"The bits of {kills['paths']:,} paths after {kills['kills']} kills of the parent or a worker: "
        f"{same[kills['equal']]}.",
        f"{store['paths']:,} paths at 101 times go into a store at {store['MB_per_s']:.0f} MB/s, {store['ratio']:.2f} "
        f"of the rate of zarr alone; after {store['kills']} kills {len(store['differ'])} of the {store['files']} files "
        f"of its data differ.",
    ]
    return "\n".join(f"* {line}" for line in lines)


def scaling():
    """How busy simulated workers are kept."""
    rows = [
        [f"{row['workers']:,}", f"{row['block_seconds']:g}", f"{row['workers'] / row['block_seconds']:,.0f}"]
        + [f"{100 * row['efficiency']:.0f} %"]
        for row in read("ensembles")["scaling"]["rows"]
    ]
    return markdown(["workers", "seconds a block", "blocks a second", "kept busy"], rows)


def races():
    """Ensembles of steps of adaptive size, beside other libraries."""
    found, rows = read("adaptive")["ensembles"], []
    best = found["rate"]["sdekit dop853, in order"]
    for name, rate in found["rate"].items():
        error = found["largest error / tol"][name]
        rows.append([name, f"{rate:,.0f}", f"{best / rate:,.1f}", f"{error:.1f}"])
    return markdown(["", "trajectories/s", "`dop853` in order is faster by", "largest error / tol"], rows)


def compiled():
    """Compiled steps of torch beside eager ones."""
    result, rows = read("compiled"), []
    for name, task in result["tasks"].items():
        rates = [f"{task[f'path-steps/s, {how}'] / 1e6:.0f}" for how in ("eager", "compiled")]
        rows.append([name, *rates, f"{task['times as fast']:.1f}", f"{task['first call, s']:.0f}"])
    head = ["", "eager, million path-steps/s", "compiled", "times as fast", "first call, s"]
    return f"{markdown(head, rows)}\n\n{measured_on(result)}"


def passage():
    """Where the weak order of a barrier comes from, and what a barrier costs."""
    result = read("passage")
    weak, cost = result["weak errors of OU, Euler–Maruyama"], result["cost"]
    h, slopes = weak["h"], [slope for slope, _ in weak["slopes"]]
    first, second, _ = (f"{abs(alive):.2f}" for alive, _ in weak["terms of h, h^1.5, h^2"])
    single, double = cost["float32"], cost["float64"]
    return paragraph(
        f"The error of P(alive) of an OU process from 0 to a level at 1 is −{first} h + {second} h^1.5; its slope is "
        f"{slopes[1]:.2f} from h = {h[1]:g} to {h[2]:g} and {slopes[4]:.2f} from {h[4]:g} to {h[5]:g}, computed by "
        f"quadrature, not drawn. Compiled, barriers take {single['distant']:.1f} times the time without (float64: "
        f"{double['distant']:.1f}) where no path comes near one, and {single['a third stops']:.1f} times "
        f"({double['a third stops']:.1f}) where a third of the paths stop within a hundred steps."
    )
