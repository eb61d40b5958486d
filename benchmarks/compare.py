"""`python -m generative compare` at its defaults, with what it took: `python -m benchmarks.compare`.

Results: benchmarks/results/compare.json and docs/figures/compare.png; the trainings stay in runs/compare, from which a
broken run continues.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

from generative.compare import DISTANCES, PROPERTIES, compare
from generative.metrics import table
from sdekit.files import write_text

from .report import machine, versions

ROOT = Path(__file__).parents[1]
RESULTS, FIGURE = ROOT / "benchmarks" / "results" / "compare.json", ROOT / "docs" / "figures" / "compare.png"


def markdown(results):
    first, second = (table(results["rows"], columns) for columns in (DISTANCES, PROPERTIES))
    return f"{first}\n\n{second}\n\n{results['minutes']:.1f} minutes in all; {results['machine']['cpu']}."


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, default=ROOT / "runs" / "compare", help="of the trainings")
    folder, begun = options.parse_args().folder, time.perf_counter()
    text = compare("eight_gaussians", folder)
    results = {"minutes": (time.perf_counter() - begun) / 60, "rows": json.loads((folder / "result.json").read_text())}
    results |= {"machine": machine(), "versions": versions()}
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    shutil.copyfile(folder / "comparison.png", FIGURE)
    print(text)


if __name__ == "__main__":
    main()
