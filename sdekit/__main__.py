"""Command line: `python -m sdekit methods | simulate | expect`; each has --help."""

import argparse
import os
import sys

from . import __version__, methods
from .app import expect, simulate, texts


def main(argv=None):
    """Run a command; returns the exit status.

    0; 1 where blocks of a run were not made; 2 for arguments that make no sense and files that cannot be written; 130
    for Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser(argv).parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, `| head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError, ModuleNotFoundError, RuntimeError) as error:
        if "--traceback" in argv:
            raise
        print(f"python -m sdekit: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def parser(argv=()):
    """The parser of all commands; each sets `run`, a function of the parsed arguments.

    Parameters of the process that `argv` names are options.
    """
    top = argparse.ArgumentParser(prog="python -m sdekit", description="Solve stochastic differential equations.")
    top.add_argument("--version", action="version", version=f"sdekit {__version__}")
    top.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    text = "list the methods with what they claim"
    command = commands.add_parser("methods", help=text, description=text.capitalize() + ".")
    command.add_argument("--markdown", action="store_true", help="as a markdown table")
    command.set_defaults(run=show_methods)

    for name, module in (("simulate", simulate), ("expect", expect)):
        module.add(commands, texts.named(list(argv), name))
    return top


# --- methods -------------------------------------------------------------------------------------

COLUMNS = "method", "calculus", "noise served", "strong order", "weak", "ODE", "drifts", "normals"


def show_methods(arguments):
    """Print the table of the methods."""
    print("\n".join(method_table(arguments.markdown)))
    if not arguments.markdown:
        print(
            "\nstrong order: by kind of noise where it differs; weak, ODE: orders; –: none claimed."
            "\ndrifts, normals: evaluations of the drift or network, and normals per channel, in a step."
        )


def method_table(markdown=False):
    """Lines of the table made from the records in `sdekit.methods`."""
    rows = [method_row(getattr(methods, name)) for name in methods.__all__]
    if markdown:
        lines = [COLUMNS, ["---"] * 4 + ["--:"] * 4, *(("`" + row[0] + "`", *row[1:]) for row in rows)]
        return ["| " + " | ".join(line) + " |" for line in lines]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    lines = [COLUMNS, ["-" * width for width in widths], *rows]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def method_row(method):
    """One method's cells."""
    ode = method.noise == ("none",)
    kinds = [kind for kind in method.noise if kind != "none"]
    strong = method.strong or {}
    if len(set(strong.values())) > 1:
        orders = ", ".join(f"{kind} {order:g}" for kind, order in strong.items())
    else:
        orders = number(next(iter(strong.values()), None))
    return (
        method.name,
        "–" if ode else "Itô" if method.calculus == "ito" else "Stratonovich",
        ", ".join(kinds) or "none (ODE)",
        orders,
        number(method.weak),
        number(method.order),
        number(method.drifts),
        number(method.normals),
    )


def number(value):
    return "–" if value is None else f"{value:g}"


if __name__ == "__main__":
    sys.exit(main())
