"""A step must not change the state that it is given: where a user's function does, this says which."""

import contextlib

import numpy as np

from .. import arrays
from ..records import title


def own(x):
    """A copy that no one else holds; numpy arrays are protected instead."""
    return x.clone() if arrays.is_tensor(x) else x.view()


def protected(x):
    """x, a numpy array made read-only; tensors are looked after by `call`."""
    if isinstance(x, np.ndarray):
        x.flags.writeable = False
    return x


def call(step, sde, t, t1, x, h, *rest):
    """The step at x; a ValueError where it changes x in place."""
    before = version(x)
    try:
        taken = step(sde, t, t1, x, h, *rest)
    except (ValueError, RuntimeError) as error:
        if "read-only" in str(error):
            raise ValueError(_complaint(sde, t, x)) from error
        if asks_for_truth(error):
            raise ValueError(_truth(f"a function of {_name(sde)}")) from error
        raise
    if version(x) != before:
        raise ValueError(_complaint(sde, t, x))
    return taken


def closely(step, sde, t, t1, x, h, *rest):
    """`call`, by the numbers: nobody counts the changes of inference tensors, x.data and x.numpy()."""
    if not arrays.is_tensor(x) or not arrays.concrete(x):
        return call(step, sde, t, t1, x, h, *rest)
    copy = x.detach().clone()
    taken = call(step, sde, t, t1, x, h, *rest)
    same = arrays.torch().equal(copy, x)  # in one pass, but never of what is not a number
    if not same and not bool(((copy == x) | (copy != copy)).all()):
        raise ValueError(_complaint(sde, t, copy))
    return taken


def untouched(sde, t, x):
    """Raise where a function changes its argument in place, as told by states like x."""
    if any(_changes(f, t, x) for _, f in _functions(sde)):
        raise ValueError(_complaint(sde, t, x))


def drift(sde, t, x):
    """The drift at x, in the type of x; a ValueError where it changes x in place."""
    return closely(lambda sde, t, t1, x, h: sde.drift(t, x), sde, t, t, x, 0.0)


def asked(name, function, *x, **named):
    """What a user's function gives for arrays, read-only here, or tensors; a ValueError where it changes them.

    name  of the function, in errors.
    """
    x, named = [_lent(part) for part in x], {name: _lent(part) for name, part in named.items()}
    before, changes = [version(part) for part in x], False
    try:
        found = function(*x, **named)
    except (ValueError, RuntimeError) as error:
        if asks_for_truth(error):
            raise ValueError(_truth(name)) from error
        if "read-only" not in str(error):
            raise
        changes = True
    if changes or [version(part) for part in x] != before:
        raise ValueError(f"{name} changes its argument in place; write x - 1 for x -= 1, x.mul(2) for x.mul_(2)")
    return found


def _lent(x):
    return protected(x.view()) if isinstance(x, np.ndarray) else x


def _truth(name):
    return (
        f"{name} asks for the truth of a condition on all paths at once; write sdekit.math.where(x > 0, a, b) for "
        f"if x > 0, which gives each path its own"
    )


def asks_for_truth(error):
    """Whether a function has asked for the truth of an array or a tensor."""
    return "truth value" in str(error) or "Boolean value of Tensor" in str(error)


def version(x):
    """A count of the changes in place; 0 where there is none, and for arrays, which are read-only."""
    return x._version if arrays.is_tensor(x) and not x.is_inference() else 0


def _complaint(sde, t, x):
    changed = [n for n, f in _functions(sde) if _changes(f, t, x)]
    return (
        f"{changed[0] if changed else 'a function'} of {_name(sde)} changes its argument in place; write "
        f"x = x - 1 for x -= 1, x.mul(2) for x.mul_(2), nn.ReLU() for nn.ReLU(inplace=True)"
    )


def _functions(sde):
    return ("drift", sde.drift), ("diffusion", lambda t, y: sde.noise(t, y, 1.0))


def _name(sde):
    return title(getattr(sde.process, "target", sde.process))  # what counts evaluations stands in front


def _changes(function, t, x):
    """Whether a function changes an array like x, of either sign."""
    x = x.detach() if arrays.is_tensor(x) else x
    for state in (1.5 + x * x, -1.5 - x * x):
        copy = state.clone() if arrays.is_tensor(state) else np.array(state)
        with contextlib.suppress(Exception):  # whatever else is wrong with it
            function(t, copy)
        if not bool((copy == state).all()):
            return True
    return False
