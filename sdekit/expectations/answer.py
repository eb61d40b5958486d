"""What `expect` returns."""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """A level of an expectation: P_n − P_{n/2}, or P_n alone on the first.

    steps        n
    paths        over which it was averaged
    mean         of the difference
    variance     of the difference
    kurtosis     of the difference; of many hundreds the variance is not to be trusted
    consistency  |E(P_n − P_{n/2}) − (E P_n − E P_{n/2})|, the latter from the paths of either level, over three of its
                 standard errors: above 1 the levels do not fit together. 0 on the first.
    seed         of its paths
    """

    steps: int
    paths: int
    mean: float
    variance: float
    kurtosis: float
    consistency: float
    seed: int


class Answer(NamedTuple):
    """An expectation, how far off it may be, and what it took.

    value    the estimate
    error    bias + 1.96 stderr: of 95 % of seeds the true error is below. With scramblings bias + 2.6 stderr: theirs is
             of few means, which were drawn until they were near to each other. Where f jumps, so that their means have
             few values, it may be too small
    bias     what is left of the discretisation, from how the means of the levels fall; 0 where the law is exact
    stderr   standard error of the mean
    levels   a `Level` for each number of steps
    rates    (α, β): means fall as n^{−α}, variances as n^{−β}; None where there are not three levels
    cost     path-steps of the levels
    seed     from which those of the levels are made
    notes    what the diagnostics say, in words; `supported` is False where they do not support the tolerance
    """

    value: float
    error: float
    bias: float
    stderr: float
    levels: tuple[Level, ...]
    rates: tuple[float, float] | None
    cost: int
    seed: int
    supported: bool
    notes: tuple[str, ...]

    def __repr__(self):
        doubt = "" if self.supported else ", not supported"
        return f"Answer({self.value:.8g} ± {self.error:.2g}, {len(self.levels)} levels, {self.cost:.3g} steps{doubt})"

    def __str__(self):
        head = f"{self.value:.10g} ± {self.error:.2g}   (bias {self.bias:.2g}, standard error {self.stderr:.2g})"
        lines = [head, "".join(f"{name:>13}" for name in ("steps", "paths", "mean", "variance", "kurtosis"))]
        for level in self.levels:
            lines.append(
                f"{level.steps:13d}{level.paths:13d}{level.mean:13.4g}{level.variance:13.4g}{level.kurtosis:13.4g}"
            )
        return "\n".join([*lines, *self.notes])
