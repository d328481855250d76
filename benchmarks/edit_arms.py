"""Do registration and a first stage on single images help edits? Procedural patients, three seeds.

    python -m benchmarks.edit_arms OUT [--patients 900] [--steps 1600] [--seeds 0 1 2]

Trains each of four arms (registered or not, one stage or two) on each seed's patients and measures
its edits as `curate evaluate --edits` does. An arm that has its file in OUT is not run again:
killed, the same command goes on. Prints composite and parts of each arm, with intervals over
patients, and at the end whether unregistered training has the larger error where nothing was to
change.
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.evaluation.config import EditsConfig
from curate.evaluation.edits import OURS, evaluate_edits
from curate.journeys.config import DescribeConfig, JourneyDemo, RegisterConfig
from curate.journeys.demo import make_demo
from curate.journeys.describe import describe_journeys
from curate.journeys.register import register_journeys
from curate.production.config import GeneratorChoice
from curate.progress import progress
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.train_generator import run_train_generator
from curate.workspace import Workspace, init_workspace, open_workspace
from generators.config import SamplingSettings
from generators.families.counterfactual import FAMILY, TRAINING

SAMPLING = SamplingSettings(num_steps=12, guidance=2.0, image_guidance=1.5, batch_size=25)
SHARE_OF_STAGE_ONE = 0.4  # of all steps, where there are two stages


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=900)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    errors: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for seed, registered, stages in itertools.product(asked.seeds, (True, False), (1, 2)):
        name = f"{'registered' if registered else 'unregistered'}-{stages}-stage-seed-{seed}"
        path = asked.out / f"{name}.json"
        if not path.exists():
            found = run_arm(asked, asked.out / name, seed, registered=registered, stages=stages)
            path.with_suffix(".part").write_text(json.dumps(found))
            path.with_suffix(".part").rename(path)
        told = json.loads(path.read_text())["edits"]
        for kind, rows in told.items():
            print(f"{name:<36} {kind:<20} {in_words(rows[OURS])}", flush=True)
        errors[registered].append(told["factual"][OURS]["error"])
    worse = sum(
        without["low"] > with_it["high"]
        for with_it, without in zip(errors[True], errors[False], strict=True)
    )
    print(f"unregistered is worse beyond both intervals in {worse} of {len(errors[True])} arms")


def run_arm(
    asked: argparse.Namespace, folder: Path, seed: int, *, registered: bool, stages: int
) -> dict[str, Any]:
    """Draw the patients, train the arm and measure it; a training that was killed goes on."""
    if not (folder / "curate.json").exists():
        init_workspace(folder)
    with open_workspace(folder) as ws:
        draw_patients(ws, asked, seed, registered=registered)
        first = round(asked.steps * SHARE_OF_STAGE_ONE) if stages == 2 else 0
        version_id = None
        if first:
            singles = LessonConfig(num_samples=0)
            version_id = taught(ws, first, seed, singles, None, side=asked.side)
        lesson = LessonConfig(real=False, journeys=True, num_samples=0)
        version_id = taught(ws, asked.steps - first, seed, lesson, version_id, side=asked.side)
        settings = replace(SAMPLING, num_steps=min(SAMPLING.num_steps, asked.steps))
        return evaluate_edits(ws, version_id, EditsConfig(), settings).to_json()


def draw_patients(ws: Workspace, asked: argparse.Namespace, seed: int, *, registered: bool) -> None:
    """Draw a seed's patients and pair their films; what is done already is not done again."""
    make_demo(ws, JourneyDemo(num_patients=asked.patients, side=asked.side, seed=seed))
    describe_journeys(ws, DescribeConfig(), progress)
    register_journeys(ws, RegisterConfig(skip=not registered, strangers=0), progress)


def taught(
    ws: Workspace,
    num_steps: int,
    seed: int,
    lesson: LessonConfig,
    start: str | None,
    *,
    side: int,
) -> str:
    """Train so many steps, from nothing or from a version; return the new version's id."""
    config = replace(
        TRAINING,
        num_steps=num_steps,
        seed=seed,
        warmup_steps=min(TRAINING.warmup_steps, num_steps // 4),
    )
    version = run_train_generator(
        ws,
        config,
        lesson,
        choice=GeneratorChoice(version=start),
        family=FamilyChoice() if start else FamilyChoice(family=FAMILY, settings=(f"side={side}",)),
        replay_prompts=None,
        say=print,
    )
    assert version is not None  # nobody stops it but by killing
    return version.id


def in_words(row: dict[str, Any]) -> str:
    """Return a row's figures in one line."""
    parts = ("composite", "auc", "identity", "kept", "error", "truth_error")
    return ", ".join(
        f"{name} -"
        if row[name] is None
        else f"{name} {row[name]['value']:.3f} [{row[name]['low']:.3f}, {row[name]['high']:.3f}]"
        for name in parts
    )


if __name__ == "__main__":
    main()
