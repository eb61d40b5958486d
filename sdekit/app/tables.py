"""Results of ensembles for a terminal and as JSON."""

import json
import math

import numpy as np

__all__ = ["as_json", "plain", "table"]


def as_json(result):
    """{"statistics": {name: its fields}} of plain numbers and lists; what is not finite is null."""
    return {"statistics": {name: plain(value) for name, value in result.results.items()}}


def table(found, result, names):
    """One line of what was made, and a row of numbers for each time and component; other statistics below."""
    columns, others = _columns(result.results)
    how = ", ".join(f"{k} = {v:g}" for k, v in found["parameters"].items() if isinstance(v, (int, float)))
    lines = [
        f"{found['process']}({how}), {found['method']}: {result.paths:,} paths, {result.failed:,} failed, "
        f"seed {result.seed}"
    ]
    if columns:
        lines.append("".join(f"{name:>13}" for name in ("t", *[""] * (len(names) > 1), *columns)))
    for i, t in enumerate(result.t.tolist() if columns else ()):
        for j, name in enumerate(names):
            values = [np.reshape(column, (len(result.t), -1))[i, j] for column in columns.values()]
            cells = [f"{t:13.6g}", *[f"{name:>13}"] * (len(names) > 1), *(f"{value:13.6g}" for value in values)]
            lines.append("".join(cells))
    return "\n".join([*lines, *(f"{name}: {json.dumps(plain(value))}" for name, value in others.items())])


def _columns(results):
    """({title: (times, …)}, the statistics that have no such columns)."""
    columns, others = {}, {}
    for name, value in results.items():
        if name == "moments":
            columns |= {"mean": value.mean, "stderr": value.stderr, "std": value.std}
        elif name == "quantiles":
            columns |= {f"{100 * level:g}%": values for level, values in zip(value.levels, value.values)}
        elif name == "extremes":
            columns |= {"least": value.least, "largest": value.largest}
        else:
            others[name] = value
    return columns, others


def plain(value):
    """Numbers, lists and dicts of a result; what is not finite is None."""
    if hasattr(value, "_asdict"):
        return {name: plain(field) for name, field in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): plain(field) for name, field in value.items()}
    if isinstance(value, (tuple, list)) or np.ndim(value):
        return [plain(entry) for entry in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
