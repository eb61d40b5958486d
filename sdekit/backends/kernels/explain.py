"""The compiler's complaints in a person's words."""

import re

from .captured import REFUSED

ELSEWHERE = "pass x0 as a torch tensor, or backend=sdekit.backends.numpy()"
KEEP = "keep to arithmetic, tuples and sdekit.math"
COMPILES = "numbers, arrays, tuples, functions, NamedTuples and dataclasses do"

# What the compiler says first, what that means, and what would do.
MEANINGS = (
    (REFUSED, "{0}", COMPILES),
    (r"yield in a closure", "a generator expression", "write the sum out, or loop over a tuple"),
    (r"unpack Real|getitem\(Real", "a state argument is one number", "take one argument per component: drift(t, x, y)"),
    (
        r"'(\w+)' of type Real|^(mean|sum|std|var|max|min|median|cumsum|sort|roll)\(Real",
        "{1} of a state argument, which is the one number of one path: paths do not see each other here",
        KEEP,
    ),
    (r"[Cc]an(?:no|')t unify", "branches give values of different kinds: {0}", "return 0.0 * x in place of 0.0"),
    (
        r"\bnone\b",
        "None in place of a number: a function without return or that only raises, or a field",
        "give numbers",
    ),
    (r"Invalid use of", "a callable object in place of a function: {0}", "give the function"),
    (r"IMPORT_NAME", "an import inside a function", "import at the top of the module"),
    (r"NumPy dtype|array\(|_like", "{0}, but a state argument is one number, no array", KEEP),
    (r"list\(Real", "a list of states", "use a tuple"),
    (r"context manager", "a with statement", "leave it out: solve keeps numpy quiet"),
    (r"NameError|Untyped global", "{0}", "define it before the solve"),
)
_STAGE = re.compile(r"^(Failed in nopython|- Resolution failure|None$|$)")
_PLACE = re.compile(r'^File "(.+)", line (\d+)|^(?:During: typing of .* at|.*Raised from) (.+) \((\d+)\)', re.M)
_CALLEE = re.compile(r"resolving callee type: (?:type\(CPUDispatcher\(<function (\w+) at|.*?, '(\w+)'\) for (\w+)\()")


def explained(problem, error):
    """What a person can do about a compiler's complaint."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    lines = [line.strip() for line in text.splitlines()]
    first = next((i for i, line in enumerate(lines) if not _STAGE.match(line)), 0)
    reason = lines[first] if lines else type(error).__name__
    if reason.startswith("No implementation"):
        reason = next((line[4:] for line in lines[first:] if line.startswith(">>> ")), reason)
    reason = re.sub(r"^Untyped global name '.*?': *", "", reason) if REFUSED in reason else reason
    found = ((re.search(pattern, reason), what, do) for pattern, what, do in MEANINGS)
    match, what, do = next((m for m in found if m[0]), (None, "{0}", KEEP))
    names = [g for g in match.groups() if g] if match else []
    what = re.sub(r"Real\((float\d+)\)", r"\1", what.format(reason, *names))
    process = problem.system.name
    return (
        f"{_where(text)}process {process} with method {problem.method.name} does not compile for the numba backend "
        f"({what}); {do}, or {ELSEWHERE}"
    )


def _where(text):
    """The innermost function that the compiler was in, and its line."""
    callee = _CALLEE.search(text)
    place = _PLACE.search(text, 0, callee.start() if callee else len(text))
    if callee is None and place is None:
        return ""
    name = "" if callee is None else callee[1] or f"{callee[2]} of {callee[3]}"
    at = "" if place is None else f"{place[1] or place[3]}, line {place[2] or place[4]}"
    return f"{name} ({at}): " if name and at else f"{name or at}: "
