"""A demo's whole circle with simulated raters, in minutes, on a laptop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.demos.base import Begun, Guard, MadeAlike
from curate.evaluation.intervals import Estimate, difference_of_shares, wilson_interval
from curate.evaluation.judge import (
    JudgedDifference,
    find_judge,
    images_to_judge,
    judge_pairs,
    to_judge,
    tops,
)
from curate.loop.config import CircleConfig, LoopConfig
from curate.loop.rounds import last_version_id, run_loop
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.progress import progress
from curate.rating.eyes import RaterEyes, eyes_for
from curate.rating.raters import Raters
from curate.release.classes import warning_lines
from curate.release.prove import prove
from curate.release.publish import Exported, export_release
from curate.release.verify import Verification
from curate.report import write_report
from curate.report.shown import keep_shown
from curate.scoring.score import Which, count_scored, score_images
from curate.workspace import Workspace
from db import queries
from db.models import Prompt, Round
from generators.config import SamplingSettings
from generators.simulated import Simulated

RELEASE_SEEDS = 900_000_000  # far from every round's
JUDGE_SEEDS = 950_000_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Filtered:
    """What the judge says of what a release kept and of what it left out."""

    kept: Estimate
    rejected: Estimate
    difference: Estimate  # kept less rejected

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: vars(own) for name, own in vars(self).items()}

    def line(self) -> str:
        """Return it for the table."""
        return (
            f"judge, release    {_percent(self.kept)} of kept images, {_percent(self.rejected)} of "
            f"rejected ones: {_percent(self.difference, sign=True)}"
        )


@dataclass(frozen=True)
class Circle:
    """What a demo's circle ended with."""

    raters: str  # who rated
    rounds: Sequence[Round]
    base_id: str
    last_id: str
    judged: JudgedDifference
    guards: Sequence[Guard]
    filtered: "Filtered | None"  # None: the filter left nothing out, or kept nothing
    exported: Exported
    proved: Verification | None  # None: not tried
    report: Path
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "ratings": "simulated",
            "raters": self.raters,
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
            "guards": [vars(guard) for guard in self.guards],
            **(
                {"judged_share_of_top_in_release": self.filtered.to_json()} if self.filtered else {}
            ),
            "release": self.exported.to_json(),
            **({"proved": self.proved.to_json()} if self.proved else {}),
            "report": str(self.report),
            "seconds": round(self.seconds, 1),
        }

    def table(self) -> list[str]:
        """Return the short table that a quickstart ends with."""
        rounds = [f"round {row.number:<10}  {row.state}: {row.reasons[0]}" for row in self.rounds]
        return [
            f"all ratings     simulated: {self.raters}",
            *rounds,
            f"judge             {self.judged.judge}: it never rated, rewarded or chose",
            f"judge, base       {_percent(self.judged.before)} of images deserve the top grade",
            f"judge, last       {_percent(self.judged.after)}",
            f"difference        {_percent(self.judged.difference, sign=True)} at equal noise",
            *(guard.line() for guard in self.guards),
            f"release           {self.exported.num_kept} images kept, {self.exported.num_rejected} "
            f"rejected: {self.exported.folder}",
            *([self.filtered.line()] if self.filtered else []),
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
    base, loop = begun.base, config.loop
    eyes = eyes_for(ws, base)
    raters = Raters(count=loop.num_raters, eyes=eyes)
    rounds = run_loop(
        ws, loop, rounds=config.rounds, base=base, prompts=begun.prompts, raters=raters, say=say
    ).rounds
    last_id = last_version_id(rounds)
    sampling = LoopConfig.from_json(rounds[0].config).sampling
    asked = begun.judged or begun.prompts
    exported, proved = _release(ws, config, last_id, asked, sampling, say)
    say("the judge, on which nothing was trained, compares base and last version at equal noise")
    seeds = JUDGE_SEEDS + loop.seed * config.judge_images_per_prompt
    before, after = (
        images_to_judge(
            ws,
            queries.versions.find_version(ws.session, version_id),
            asked,
            count=config.judge_images_per_prompt,
            first_seed=seeds,
            settings=sampling,
        )
        for version_id in (base.id, last_id)
    )
    made = MadeAlike(base.id, last_id, list(zip(before, after, strict=True)))
    judged, guards = judge_pairs(ws, made.pairs), begun.guards(ws, made)
    if (shown := begun.shows(ws, made)) is not None:
        keep_shown(ws, shown)
    say("writing the report")
    return Circle(
        raters=_in_words(eyes),
        rounds=rounds,
        base_id=base.id,
        last_id=last_id,
        judged=judged,
        guards=guards,
        filtered=_filtered(ws, exported.release_id),
        exported=exported,
        proved=proved,
        report=write_report(ws),
        seconds=time.monotonic() - started,
    )


def _in_words(eyes: RaterEyes) -> str:
    if isinstance(eyes, Simulated):
        return f"{eyes.identity}, functions that know the truth of procedural data, not people"
    return "networks trained on real images, not people"


def _release(
    ws: Workspace,
    config: CircleConfig,
    version_id: str,
    prompts: Sequence[Prompt],
    sampling: SamplingSettings,
    say: Say,
) -> tuple[Exported, Verification | None]:
    """Make fresh images with a version, score them, export those that pass, and prove it."""
    run = plan_run(
        ws,
        queries.versions.find_version(ws.session, version_id),
        prompts,
        count=config.release_images_per_prompt,
        first_seed=RELEASE_SEEDS,
        settings=sampling,
    )
    with progress(run.num_items, "images for the release") as advance:
        run_plan(ws, run, advance)
    model = queries.reward_models.find_reward_model(ws.session)
    to_score = Which(version_id=version_id)
    num_images, num_scored = count_scored(ws, model, to_score)
    with progress(num_images - num_scored, "images scored") as advance:
        score_images(ws, model, advance=advance, which=to_score)
    exported = export_release(ws, None, replace(config.export, version=version_id), progress)
    if not config.made_again:
        return exported, None
    say("verifying the release: every byte, and some images made again from their seeds")
    return exported, prove(exported.folder, ws, num_again=config.made_again)


def _filtered(ws: Workspace, release_id: str) -> Filtered | None:
    """Judge what a release kept and what it left out, for whatever reason."""
    decisions = queries.releases.decisions_of(ws.session, release_id)
    images = queries.images.images_by_id(ws.session, sorted(row.image_id for row in decisions))
    shown = [images[row.image_id] for row in decisions]
    of_kind: dict[bool, list[bool]] = {True: [], False: []}
    answers = tops(
        ws, find_judge(ws), [to_judge(image.file_sha256, prompt) for image, prompt in shown]
    )
    for decision, top in zip(decisions, answers, strict=True):
        if top is not None:
            of_kind[decision.decision == "kept"].append(top)
    kept, rejected = ((sum(own), len(own)) for own in (of_kind[True], of_kind[False]))
    if not kept[1] or not rejected[1]:
        return None
    return Filtered(
        wilson_interval(*kept), wilson_interval(*rejected), difference_of_shares(kept, rejected)
    )
