"""The whole circle, round after round: a state machine kept in each round's row.

Every step is idempotent and leaves its result in the row, so that a loop that was stopped anywhere
goes on where it stood. Where people rate, a call does what is possible now and says what it waits
for. A round begins where the last promoted one ended.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from annotation.base import RaterProfile
from curate.errors import CurateError
from curate.loop.beside_real import check_beside_real
from curate.loop.config import LoopConfig
from curate.loop.gate import judge_round, power_in_words
from curate.loop.raters import WHOLE, show, take
from curate.loop.safety import check_new_version
from curate.production.plan import plan_run, settings_hash
from curate.production.run import run_plan
from curate.progress import progress
from curate.rating.ask import ask, unpractised
from curate.rating.campaigns import CampaignPlan, Item
from curate.rating.config import SIMULATED
from curate.rating.edits import are_edits
from curate.rating.eyes import rubric_of
from curate.rating.label_studio import BACKEND
from curate.rating.raters import Raters
from curate.rating.rubrics import rubric_asked
from curate.samples.spoiling import SPOILINGS
from curate.scoring.fit import answers_to_train_on, load_reward_model, train_reward
from curate.scoring.score import mean_prediction
from curate.training.rl import rl_step
from curate.training.rl_step import doubts_about
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, GeneratorVersion, Image, Prompt, Round, Rubric, Run
from generators.config import SamplingSettings
from generators.simulated import Simulated
from rewards.config import RewardConfig

SEEDS_A_ROUND = 1_000_000  # rounds and gates draw from seed ranges of their own
GATE_SEEDS = 500_000
LOW_KL_TARGET = 1e-3  # for a step on a reward model that is in doubt

Say = Callable[[str], None]
COUNTED = "machines_that_count"  # of a round's metrics: who is a rater at its gate, by name
_Result = dict[str, Any] | str  # what changes in the round's row, or what the round waits for


@dataclass(frozen=True)
class _Pass:
    """All that one step of a round works on."""

    ws: Workspace
    config: LoopConfig
    row: Round
    prompts: Sequence[Prompt]
    raters: Raters
    say: Say


@dataclass(frozen=True)
class Looped:
    """How far a loop is."""

    rounds: list[Round]  # in order; all ended but the last, when that one waits
    waits_for: str | None = None  # None: nothing

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        rounds = [row.model_dump(mode="json") for row in self.rounds]
        return {"rounds": rounds, "waits_for": self.waits_for}


def run_loop(
    ws: Workspace,
    config: LoopConfig,
    *,
    rounds: int,
    base: GeneratorVersion,
    prompts: Sequence[Prompt],
    raters: Raters,
    say: Say,
) -> Looped:
    """Bring rounds 1 .. `rounds` of the loop to promoted or rejected, or as far as raters are.

    Raises CurateError when the loop's name was used with other settings or another base.
    """
    done: list[Round] = []
    first = queries.rounds.find_round(ws.session, config.name, 1)
    config = replace(config, sampling=sampling_of(ws, first, config.sampling))
    if first is not None:
        config = config.as_begun(first.config)
    for number in range(1, rounds + 1):
        row = get_or_start_round(ws, config, number, base, done)
        done.append(row)
        now = _Pass(ws, config, row, prompts, raters, say)
        while row.state in STEPS:
            result = STEPS[row.state](now)
            if isinstance(result, str):
                return Looped(done, waits_for=f"round {number} ({row.state}) waits: {result}")
            queries.rounds.advance_round(ws.session, row, **result)
        say(f"round {number} {row.state}: {'; '.join(row.reasons)}")
    return Looped(done)


def sampling_of(ws: Workspace, first: Round | None, sampling: SamplingSettings) -> SamplingSettings:
    """Return a loop's settings with noise as in its first round; a new one's, as is the custom."""
    begun = LoopConfig.from_json(first.config).sampling if first else ws.settings
    return replace(sampling, own_noise=begun.own_noise)


def last_version_id(rounds: Sequence[Round]) -> str:
    """Return the version that the loop ended with."""
    promoted = [row.new_version_id for row in rounds if row.state == "promoted"]
    return promoted[-1] or rounds[0].base_version_id if promoted else rounds[0].base_version_id


def get_or_start_round(
    ws: Workspace, config: LoopConfig, number: int, base: GeneratorVersion, done: Sequence[Round]
) -> Round:
    """Return the loop's round of this number, begun when it is new; `done` are those before it.

    Raises CurateError when it was begun with other settings. Who rates may change until they are
    asked; how the RL step was taken is history once it is.
    """
    row = queries.rounds.find_round(ws.session, config.name, number)
    if row is None:
        start = last_version_id(done) if done else base.id
        return queries.rounds.add_round(
            ws.session,
            loop_name=config.name,
            number=number,
            base_version_id=base.id,
            start_version_id=start,
            config=config.to_json(),
        )
    begun = LoopConfig.from_json(row.config)
    if row.campaign_id is None:
        begun = replace(begun, raters=config.raters)
    if row.new_version_id is not None:
        begun = replace(begun, rl=config.rl)
    if begun != config or row.base_version_id != base.id:
        raise other_settings(config.name)
    return row


def other_settings(loop_name: str) -> CurateError:
    """Return the error for a loop that is gone on with otherwise."""
    return CurateError(
        f"Loop {loop_name!r} was begun with other settings or another base generator. "
        "Go on with the same options, or give the new loop another name."
    )


def prompts_of(ws: Workspace, row: Round) -> list[Prompt]:
    """Return the prompts of a round that has its images, in their order."""
    run = ws.session.get(Run, row.run_id)
    assert run is not None  # a round that is generated names its run
    return [ws.session.get_one(Prompt, prompt_id) for prompt_id in run.prompt_ids]


def _make_images(now: "_Pass", version_id: str, count: int, first_seed: int) -> list[Image]:
    """Generate what is missing of a plan; return all its images in plan order."""
    version = queries.versions.find_version(now.ws.session, version_id)
    run = plan_run(
        now.ws,
        version,
        now.prompts,
        count=count,
        first_seed=first_seed,
        settings=now.config.sampling,
    )
    with progress(run.num_items, f"images of {version_id[:8]}") as advance:
        run_plan(now.ws, run, advance)
    return list(queries.runs.images_of_run(now.ws.session, run, settings_hash(run.settings)))


def first_seed(row: Round) -> int:
    """Return the seed of each prompt's first image in this round."""
    return row.number * SEEDS_A_ROUND


def campaign_name(row: Round, kind: str = "round") -> str:
    """Return what the round's campaign is called: of its images, or "gate" of the versions'."""
    return f"{row.loop_name}-{kind}-{row.number}"


def campaign_seed(row: Round, seed: int) -> int:
    """Return the seed of the round's campaigns in a loop of this seed."""
    return seed * SEEDS_A_ROUND + row.number


def scales_asked(ws: Workspace, row: Round) -> list[str]:
    """Return the names of the criteria on a scale that the round's raters were asked about."""
    campaign = ws.session.get_one(Campaign, row.campaign_id)
    asked = queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
    return [criterion.name for criterion in asked if criterion.kind == "scale"]


def _anchors_of(
    ws: Workspace,
    config: LoopConfig,
    modalities: Sequence[str],
    raters: Sequence[RaterProfile],
    *,
    spoil: bool = True,
) -> list[Item]:
    """Return what holds a reward model's scale: real images as they are, and others spoiled.

    They are drawn once in a loop; at least half of the real images stay unseen. None is of those
    that a rater has practised on.
    """
    found = [
        image
        for image, prompt in queries.images.real_images(ws.session, splits=("train", None))
        if prompt.modality in modalities
    ]
    real = unpractised(ws, found, None, [rater.name for rater in raters])
    count = min(config.anchors, len(real) // 4)
    drawn = random.Random(f"{config.seed}/anchors").sample(real, 2 * count)
    ways = itertools.cycle(SPOILINGS)
    return [
        Item(
            image_id=image.id,
            selection_method="anchor",
            spoiled=next(ways) if place % 2 else None,
        )
        for place, image in enumerate(drawn)
        if spoil or not place % 2
    ]


def rubric_begun(ws: Workspace, loop_name: str) -> UUID | None:
    """Return the rubric of the loop's first campaign: a loop belongs to one version of one."""
    for row in queries.rounds.rounds(ws.session, loop_name):
        if row.campaign_id is not None:
            return ws.session.get_one(Campaign, row.campaign_id).rubric_id
    return None


def _rubric(now: "_Pass", images: Sequence[Image]) -> Rubric:
    begun = rubric_begun(now.ws, now.config.name)
    if begun is not None:
        return now.ws.session.get_one(Rubric, begun)
    if now.raters.eyes is None:
        return rubric_asked(now.ws, None, images)
    return rubric_of(now.ws, now.raters.eyes)


def _campaign(now: "_Pass", kind: str, images: Sequence[Image], purpose: str) -> Campaign:
    """Return the round's campaign: the one of its name, made first when there is none."""
    session, name = now.ws.session, campaign_name(now.row, kind)
    known = queries.campaigns.find_campaign(session, name)
    if known is not None:
        shown = {view.image_id for view in queries.campaigns.assignments(session, known.id)}
        if missing := {image.id for image in images} - shown:
            raise CurateError(
                f"Campaign {name!r} exists and lacks {len(missing)} of this round's "
                f"{len(images)} images. Use another --name for the loop."
            )
        return known
    raters = now.raters.profiles(now.ws)
    # a gate shows real images beside the versions' anyhow
    control_fraction = now.config.control_fraction if kind == "round" else 0.0
    items = [Item(image_id=image.id, purpose=purpose) for image in images]
    # an edit is rated beside its prior, and a real image has none to be shown
    if kind == "round" and now.row.number == 1 and not are_edits(now.ws, images):
        # a family's own eyes look at samples, and a spoiled one is a picture
        spoil = not isinstance(now.raters.eyes, Simulated)
        modalities = sorted({prompt.modality for prompt in now.prompts})
        items += _anchors_of(now.ws, now.config, modalities, raters, spoil=spoil)
    plan = CampaignPlan(
        name=name,
        items=tuple(items),
        raters=tuple(raters),
        overlap=min(now.config.overlap, len(raters)),
        seed=campaign_seed(now.row, now.config.seed),
        repeat_fraction=now.config.repeat_fraction,
        backend=now.raters.backend,
    )
    return ask(
        now.ws,
        plan,
        _rubric(now, images),
        shown=images,
        control_fraction=control_fraction,
        modalities=sorted({prompt.modality for prompt in now.prompts}),
    )


def _check_raters_count(now: "_Pass") -> None:
    """Refuse a round of simulated raters that could learn nothing: people's ratings go before."""
    criteria = queries.campaigns.criteria_of(now.ws.session, _rubric(now, ()).id)
    scales = [criterion.name for criterion in criteria if criterion.kind == "scale"]
    answers = answers_to_train_on(now.ws, criteria=scales)
    if now.raters.backend != SIMULATED or not answers.all or answers.simulated:
        return
    said = (
        f"{len(answers.all):,} answers by people are in this workspace, and where people have "
        "rated, theirs alone are learned from"
    )
    needed = RewardConfig().min_ratings
    if len(answers.all) < needed:
        raise CurateError(
            f"{said}. Simulated raters' would not count, and a reward model needs {needed}. "
            "Ask people about more images with `curate rate push`, let people rate this loop with "
            f"--raters {BACKEND}, or try simulated raters in a workspace of their own."
        )
    now.say(f"{said}: this round's simulated raters only take part in its gate")


def _generate(now: "_Pass") -> dict[str, Any]:
    _check_raters_count(now)
    now.say(f"round {now.row.number}, {power_in_words(now.config, len(now.prompts))}")
    return {"state": "generated", "run_id": _images_of_round(now)[0].run_id}


def _images_of_round(now: "_Pass") -> list[Image]:
    count = now.config.images_per_prompt
    return _make_images(now, now.row.start_version_id, count, first_seed(now.row))


def _push(now: "_Pass") -> _Result:
    images = _images_of_round(now)
    campaign = _campaign(now, "round", images, "train")
    asked = {"campaign_id": campaign.id, "config": now.config.to_json()}
    return show(now.ws, campaign, now.raters) or {"state": "pushed", **asked}


def _rate(now: "_Pass") -> _Result:
    """Take the answers of the round's campaign, or of its gate's."""
    campaign = now.ws.session.get_one(Campaign, now.row.gate_campaign_id or now.row.campaign_id)
    return take(now.ws, campaign, now.raters) or {"state": WHOLE[now.row.state]}


def _train(now: "_Pass") -> dict[str, Any]:
    model = train_reward(now.ws, criteria=scales_asked(now.ws, now.row))
    held_out = model.metrics["held_out"]
    found = {
        "AUC, best rated against others": held_out["auc_top_or_rest"],
        "rank correlation": held_out["spearman"],
    }
    shown = [f"{name} {value:.2f}" for name, value in found.items() if value is not None]
    quality = f"on ratings left out: {', '.join(shown)}" if shown else "too few ratings to test it"
    now.say(f"round {now.row.number}: reward model {model.id[:12]}, {quality}")
    return {"state": "trained", "reward_model_id": model.id}


def _step(now: "_Pass") -> dict[str, Any]:
    row, session = now.row, now.ws.session
    model = queries.reward_models.find_reward_model(session, row.reward_model_id or "")
    config = replace(now.config.rl, seed=now.config.rl.seed + row.number)
    doubts = doubts_about(model)
    if doubts:
        config = replace(config, kl_target=min(config.kl_target, LOW_KL_TARGET))
        now.say(f"round {row.number}: {doubts[0]}. The RL step therefore stays close to its start.")
    with progress(config.num_updates, f"RL updates of round {row.number}") as advance:
        version = rl_step(
            now.ws,
            config,
            start=queries.versions.find_version(session, row.start_version_id),
            prompts=now.prompts,
            reward=model,
            report=lambda health: advance(1),
        )
    return {
        "state": "stepped",
        "new_version_id": version.id,
        "metrics": {"doubts": doubts},
    }


def _push_gate(now: "_Pass") -> _Result:
    row = now.row
    versions = dict.fromkeys((row.base_version_id, row.start_version_id, row.new_version_id or ""))
    made = {
        version_id: _make_images(
            now, version_id, now.config.gate_images_per_prompt, first_seed(row) + GATE_SEEDS
        )
        for version_id in versions
    }
    start, new = made[row.start_version_id], made[row.new_version_id or ""]
    checked = check_new_version(now.ws, start, new, now.config.safety)
    model = load_reward_model(now.ws, row.reward_model_id or "")
    before, after = (mean_prediction(now.ws, model, images) for images in (start, new))
    # how much more the round's reward model thinks of the new version's images
    metrics = {**row.metrics, "safety": checked.metrics, "reward_rise": after - before}
    beside = check_beside_real(now.ws, model, start, new, now.config.safety)
    metrics["beside_real"] = beside.metrics
    for warning in beside.warnings:
        now.say(f"round {row.number}: {warning}")
    if reasons := [*checked.reasons, *beside.reasons]:
        return {"state": "rejected", "reasons": reasons, "metrics": metrics}
    images = [image for of_version in made.values() for image in of_version]
    if not are_edits(now.ws, images):
        drawn = queries.images.draw_real_images(
            now.ws.session, now.config.gate_real_images, seed=now.config.seed + row.number
        )
        names = [rater.name for rater in now.raters.profiles(now.ws)]
        images += unpractised(now.ws, drawn, None, names)
    campaign = _campaign(now, "gate", images, "gate")
    made_of = {"gate_campaign_id": campaign.id, "metrics": metrics}
    return show(now.ws, campaign, now.raters) or {"state": "gate_pushed", **made_of}


def _decide(now: "_Pass") -> dict[str, Any]:
    row, config = now.row, now.config
    session, campaign_id, machines = now.ws.session, row.gate_campaign_id, row.metrics.get(COUNTED)
    ratings = queries.ratings.current_ratings(session, campaign_id=campaign_id, purposes=("gate",))
    if campaign_id is not None and machines:
        queries.ratings.require_rated(session, campaign_id, machines)
        ratings += queries.ratings.ratings_of_machines(session, campaign_id, machines)
    verdict = judge_round(
        ratings,
        base_version_id=row.base_version_id,
        start_version_id=row.start_version_id,
        new_version_id=row.new_version_id or "",
        tolerance=config.gate_tolerance,
        confidence=config.gate_confidence,
    )
    reasons = list(verdict.reasons)
    reasons += [f"counted among the raters: {', '.join(machines)}"] if machines else []
    rise = row.metrics.get("reward_rise", 0.0)  # not there when an older curate made the gate
    if rise > 0 and verdict.metrics["difference"]["value"] <= 0:
        reasons.append(
            f"alarm: the reward rose by {rise:.3f} and the raters' verdict did not: the reward "
            "model is being fooled. Rate more of the new version's images before the next round"
        )
    return {
        "state": "promoted" if verdict.promoted else "rejected",
        "metrics": {**row.metrics, **verdict.metrics},
        "reasons": reasons,
    }


STEPS: dict[str, Callable[["_Pass"], _Result]] = {
    "planned": _generate,
    "generated": _push,
    "pushed": _rate,
    "rated": _train,
    "trained": _step,
    "stepped": _push_gate,
    "gate_pushed": _rate,
    "gate_rated": _decide,
}
