"""A demo's whole circle with simulated raters, in minutes, on a laptop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.demos.base import Begun
from curate.evaluation.intervals import Estimate
from curate.evaluation.judge import JudgedDifference, judge_versions
from curate.loop.config import CircleConfig, LoopConfig
from curate.loop.rounds import last_version_id, run_loop
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.progress import progress
from curate.rating.eyes import eyes_for
from curate.rating.raters import Raters
from curate.release.classes import warning_lines
from curate.release.prove import prove
from curate.release.publish import Exported, export_release
from curate.release.verify import Verification
from curate.report import write_report
from curate.scoring.score import Which, count_scored, score_images
from curate.workspace import Workspace
from db import queries
from db.models import Round

RELEASE_SEEDS = 900_000_000  # far from every round's
JUDGE_SEEDS = 950_000_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Circle:
    """What a demo's circle ended with."""

    rounds: Sequence[Round]
    base_id: str
    last_id: str
    judged: JudgedDifference
    exported: Exported
    proved: Verification | None  # None: not tried
    report: Path
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "ratings": "simulated",
            "rounds": [
                {"number": row.number, "state": row.state, "reasons": row.reasons}
                for row in self.rounds
            ],
            "base": self.base_id,
            "last": self.last_id,
            "judge": self.judged.judge,
            "judged_share_of_top": {
                "base": vars(self.judged.before),
                "last": vars(self.judged.after),
                "difference": vars(self.judged.difference),
            },
            "release": self.exported.to_json(),
            **({"proved": self.proved.to_json()} if self.proved else {}),
            "report": str(self.report),
            "seconds": round(self.seconds, 1),
        }

    def table(self) -> list[str]:
        """Return the short table that a quickstart ends with."""
        rounds = [f"round {row.number:<10}  {row.state}: {row.reasons[0]}" for row in self.rounds]
        return [
            "all ratings     simulated: networks trained on real images, not people",
            *rounds,
            f"judge, base       {_percent(self.judged.before)} of images fit for training",
            f"judge, last       {_percent(self.judged.after)}",
            f"difference        {_percent(self.judged.difference, sign=True)} at equal noise",
            f"release           {self.exported.num_kept} images kept, {self.exported.num_rejected} "
            f"rejected: {self.exported.folder}",
            *warning_lines(self.exported.classes),
            *(self.proved.lines()[1:] if self.proved else []),
            f"report            {self.report}",
            f"time              {self.seconds / 60:.1f} minutes",
        ]


def _percent(estimate: Estimate, *, sign: bool = False) -> str:
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:{'+' if sign else ''}.0f} % ({low:.0f} to {high:.0f})"


def run_circle(ws: Workspace, config: CircleConfig, begun: Begun, say: Say) -> Circle:
    """Generate, rate, train, improve, judge and export; stopped anywhere, it goes on from there."""
    started = time.monotonic()
    base, prompts, loop = begun.base, begun.prompts, config.loop
    raters = Raters(count=loop.num_raters, eyes=eyes_for(ws, base))
    rounds = run_loop(
        ws, loop, rounds=config.rounds, base=base, prompts=prompts, raters=raters, say=say
    ).rounds
    last_id = last_version_id(rounds)
    sampling = LoopConfig.from_json(rounds[0].config).sampling
    # Make fresh images with the last version, score them and export the ones that pass.
    run = plan_run(
        ws,
        queries.versions.find_version(ws.session, last_id),
        prompts,
        count=config.release_images_per_prompt,
        first_seed=RELEASE_SEEDS,
        settings=sampling,
    )
    with progress(run.num_items, "images for the release") as advance:
        run_plan(ws, run, advance)
    model = queries.reward_models.find_reward_model(ws.session)
    to_score = Which(version_id=last_id)
    num_images, num_scored = count_scored(ws, model, to_score)
    with progress(num_images - num_scored, "images scored") as advance:
        score_images(ws, model, advance=advance, which=to_score)
    exported = export_release(ws, None, replace(config.export, version=last_id), progress)
    proved = None
    if config.made_again:
        say("verifying the release: every byte, and some images made again from their seeds")
        proved = prove(exported.folder, ws, num_again=config.made_again)
    say("the judge, on which nothing was trained, compares base and last version at equal noise")
    judged = judge_versions(
        ws,
        base.id,
        last_id,
        prompts,
        count=config.judge_images_per_prompt,
        first_seed=JUDGE_SEEDS + loop.seed * config.judge_images_per_prompt,
        settings=sampling,
    )
    say("writing the report")
    report = write_report(ws)
    seconds = time.monotonic() - started
    return Circle(rounds, base.id, last_id, judged, exported, proved, report, seconds)
