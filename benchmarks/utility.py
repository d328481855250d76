"""Is a vetted, label-checked set worth more than an unvetted one? Declared before it was run.

    python -m benchmarks.utility DATA WORKSPACE OUT [--count 60]

DATA has data.csv with real images; WORKSPACE is a quickstart's. Its latest version makes COUNT
images of each prompt of the embedded model's classes, its reward model scores them, and the default
export keeps the vetted ones. A linear probe on network D learns from real train patients, with and
without a set, and is tested on the validation rows and the patients set aside, whom no network
that ships has seen.

Declared: 5 and 10 real images a class, 5 synthetic ones for each, 8 draws, tasks within one source,
balanced accuracy as the mean of the tasks, the checking classifier trained on the arm's own real
images. Primary: vetted and label-checked minus unvetted, at 5 and at 10, Holm-corrected. All other
rows are exploratory: of a hundred intervals five exclude 0 by chance. Prints the table and JSON.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import norm

from curate.evaluation.config import UtilityConfig
from curate.evaluation.intervals import Estimate
from curate.evaluation.utility import CHECKED, Utility, measure_utility
from curate.evaluation.utility_sides import read_sides
from curate.progress import progress
from curate.workspace import open_workspace
from db import queries
from recipes.embedded_model.data import PHRASES
from recipes.set_aside import is_set_aside
from rewards.backbones import load_backbone

DECLARED = UtilityConfig(per_class="5,10", ratios="5", draws=8, task="source")


def read_rows(table: Path) -> list[dict[str, str]]:
    """Return a table's rows."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_sides(data: Path, out: Path) -> tuple[Path, Path]:
    """Copy the real images and write the tables of both sides; return the tables."""
    rows = read_rows(data / "data.csv")
    sides: dict[str, list[dict[str, str]]] = {"train.csv": [], "test.csv": []}
    for row in rows:
        is_test = row["split"] != "train" or is_set_aside(row["patient"])
        sides["test.csv" if is_test else "train.csv"].append(row | {"split": ""})
        target = out / row["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / row["path"], target)
    for name, chosen in sides.items():
        with (out / name).open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0].keys())
            table.writeheader()
            table.writerows(chosen)
    return out / "train.csv", out / "test.csv"


def curate(workspace: Path, *arguments: str) -> None:
    """Run a command as a user would; its output goes to the terminal's error stream."""
    line = [sys.executable, "-m", "cli", *arguments, "--workspace", str(workspace)]
    subprocess.run(line, check=True, stdout=sys.stderr)


def make_sets(workspace: Path, out: Path, train: Path, count: int) -> list[Path]:
    """Make, score and export; return the folders of the unvetted and the vetted set."""
    sheet = out / "prompts.csv"
    with sheet.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["Text", "modality", "label"])
        classes = sorted({(row["modality"], row["label"]) for row in read_rows(train)})
        table.writerows([PHRASES[la][0], modality, la] for modality, la in classes if la in PHRASES)
    asked = ("--version", "latest", "--prompts", str(sheet), "--count", str(count))
    curate(workspace, "generate", *asked, "--seed", "100000")
    curate(workspace, "score")
    vetted, unvetted = out / "vetted", out / "unvetted"
    curate(workspace, "export", str(vetted), "--version", "latest")
    with open_workspace(workspace) as ws:
        version = queries.versions.find_version(ws.session, "latest")
        for image, prompt in queries.images.images(ws.session, version_id=version.id):
            folder = unvetted / prompt.modality / str(prompt.label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{image.id}.png").write_bytes(ws.store.get(image.file_sha256))
    return [unvetted, vetted]


def holm(estimates: Sequence[Estimate]) -> list[float]:
    """Return p values, two-sided, corrected after Holm 1979; normal, by the intervals' widths."""
    p = [2 * norm.sf(abs(e.value) / ((e.high - e.low) / 3.92)) for e in estimates]
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, float(p[place]) * (len(p) - rank)))
        corrected[place] = largest
    return corrected


def primary(found: Utility) -> list[tuple[str, Estimate]]:
    """Return the declared differences of a table."""
    return [
        (arm, estimate)
        for arm, _, estimate in found.differences
        if " vetted, " in arm and arm.endswith(CHECKED)
    ]


def main() -> None:
    """Make the sets, measure, and say what was declared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=60, help="images of each prompt")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train, test = write_sides(options.data, options.out)
    sets = make_sets(options.workspace, options.out, train, options.count)
    sides = read_sides(train, test, sets, cache=options.out / "cache")
    found = measure_utility(sides, load_backbone(DECLARED.features), DECLARED, progress)
    told = primary(found)
    lines = [
        f"primary: {arm} minus unvetted {100 * e.value:+.1f} ({100 * e.low:+.1f} to "
        f"{100 * e.high:+.1f}) points, p {p:.3f} after Holm"
        for (arm, e), p in zip(told, holm([e for _, e in told]), strict=True)
    ]
    print("\n".join([*found.lines(), *lines]), file=sys.stderr)
    print(json.dumps(found.to_json() | {"primary": lines}))


if __name__ == "__main__":
    main()
