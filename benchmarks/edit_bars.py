"""What edits of procedural patients reach, beside bars and rows that must fail. One training.

    python -m benchmarks.edit_bars OUT [--patients 900] [--singles 400] [--steps 1600] [--seed 0]

Trains a counterfactual generator, first on single images, then on journeys, and measures its edits
of 50 test patients: factual edits and true counterfactuals with all baselines, both guidance
scales, and edits of other patients' priors. Each part that has its file in OUT is not computed
again: killed, the same command goes on. Prints every bar with its figure, reached or not.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.edit_arms import draw_patients, taught
from curate.training.config import LessonConfig
from curate.workspace import Workspace, init_workspace, open_workspace

LEFT_OUT = 0


def main() -> None:
    """Compute what is missing and print the bars."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=900)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--singles", type=int, default=400, help="steps on single images")
    parser.add_argument("--steps", type=int, default=1600, help="steps on journeys")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = asked.out / "workspace"
    if not (folder / "curate.json").exists():
        init_workspace(folder)
    with open_workspace(folder) as ws:
        trained = part(asked.out, "trained", lambda: training(ws, asked))
        print(trained)


def part(out: Path, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a part from its file, computed where there is none."""
    path = out / f"{name}.json"
    if not path.exists():
        path.with_suffix(".part").write_text(json.dumps(compute()))
        path.with_suffix(".part").rename(path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def training(ws: Workspace, asked: argparse.Namespace) -> dict[str, Any]:
    """Draw the patients and train; return the version and the CPU seconds of both."""
    begun = time.process_time()
    draw_patients(ws, asked, asked.seed, registered=True)
    drawn = time.process_time()
    singles = LessonConfig(num_samples=0)
    version_id = taught(ws, asked.singles, asked.seed, singles, None, side=asked.side)
    lesson = LessonConfig(real=False, journeys=True, num_samples=0)
    version_id = taught(ws, asked.steps, asked.seed, lesson, version_id, side=asked.side)
    done = time.process_time()
    return {"version": version_id, "drawn_s": drawn - begun, "trained_s": done - drawn}


if __name__ == "__main__":
    main()
