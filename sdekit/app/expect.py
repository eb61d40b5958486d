"""`python -m sdekit expect`: an expectation with its error, to a tolerance."""

import json
import sys
import warnings

from .. import methods
from ..expectations import expect
from . import texts
from .tables import plain

__all__ = ["add"]

DESCRIPTION = """\
E f(X_t) with its error, by multilevel Monte Carlo, or exactly in law where the process is known.

  python -m sdekit expect GBM --sigma 0.2 --x0 100 --t 1 --payoff call:100 --tol 0.01

Payoffs are not discounted, and look at the first component of a state."""


def add(commands, process):
    """The command; `process` is the text behind it, whose parameters become options."""
    command = texts.command(commands, "expect", "an expectation with its error", DESCRIPTION)
    add = command.add_argument
    known = "call:STRIKE, put:STRIKE, digital:STRIKE, mean, second-moment, module:function or file.py:function"
    add("--payoff", required=True, metavar="NAME", help=known)
    add("--t", required=True, metavar="T", help="the time, or FROM,TO")
    add("--tol", required=True, type=float, help="absolute error")
    add("--method", metavar="NAME", help="of steps, see `methods`; without it known laws take none")
    add("--inner", type=texts.whole, default=1, metavar="N", help="draws of the last step: 64 where the payoff jumps")
    add("--seed", type=int, metavar="N", help="of the answer (a new one)")
    add("--json", action="store_true", help="print the answer as JSON")
    texts.add_process(command, process)
    command.set_defaults(run=run)


def run(arguments):
    """Print the answer."""
    process = texts.made(arguments)
    x0, t = texts.start(arguments, process), texts.numbers("t", arguments.t)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = expect(
            texts.payoff(arguments.payoff),
            process,
            x0,
            t if len(t) > 1 else t[0],
            tol=arguments.tol,
            method=None if arguments.method is None else texts.choose("method", arguments.method, methods),
            inner=arguments.inner,
            seed=arguments.seed,
        )
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    print(json.dumps(plain(answer)) if arguments.json else answer)
