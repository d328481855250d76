"""What the judge says: a network that only measures. Shapes: B images, P prompts."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.intervals import Estimate, paired_bootstrap, wilson_interval
from curate.production.images import prompt_values
from curate.production.plan import plan_run, settings_hash
from curate.production.run import run_plan
from curate.progress import progress
from curate.samples.formats import read_sample
from curate.samples.renderings import montage
from curate.samples.stored import batches
from curate.scoring.conditioning import conditioning_of
from curate.scoring.fit import load_reward_model
from curate.simulated import simulated_for
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Prompt
from generators.config import SamplingSettings
from rewards import frozen
from rewards.conditioning import Conditioning

BATCH = 64
NO_JUDGE = "no independent judge"
GivesTop = Callable[[Tensor, Sequence["ToJudge"]], Tensor]


@dataclass(frozen=True)
class ToJudge:
    """A stored image and what its prompt asked for."""

    file_sha256: str
    prompt_id: str
    modality: str
    text: str
    label: str | None


Pair = tuple[ToJudge, ToJudge]  # of two versions at one prompt and seed


@dataclass(frozen=True)
class Judge:
    """Tells which images deserve the top rating, and of which modalities it can."""

    name: str
    modalities: frozenset[str] | None  # None: any
    tell: Callable[[Workspace, Sequence[ToJudge]], Sequence[bool | None]]

    def knows(self, image: ToJudge) -> bool:
        """Tell whether the judge can speak of this image."""
        return self.modalities is None or image.modality in self.modalities


@dataclass(frozen=True)
class JudgedDifference:
    """The judge's share of top ratings of two versions at the same prompts and seeds."""

    judge: str
    before: Estimate
    after: Estimate
    difference: Estimate  # paired over prompts: after - before


def find_judge(ws: Workspace) -> Judge:
    """Return the judge trained here, else the one of the generator's family, or the shipped."""
    trained = queries.reward_models.reward_models(ws.session, "judge")
    if trained:
        return _trained_judge(ws, trained[-1].id)
    latest = queries.versions.latest_version(ws.session)
    own = latest and simulated_for(ws, queries.versions.family_of(ws.session, latest))
    if not own:
        return shipped_judge()

    def tell(ws: Workspace, asked: Sequence[ToJudge]) -> list[bool | None]:
        prompts = prompt_values(ws, list(dict.fromkeys(one.prompt_id for one in asked)))
        return [
            own.deserves_top(read_sample(ws.store, one.file_sha256), prompts[one.prompt_id])
            for one in asked
        ]

    return Judge(own.judge, None, tell)


def _picture_judge(name: str, modalities: frozenset[str] | None, gives_top: GivesTop) -> Judge:
    """Return a judge who looks at pictures [B, 3, H, W] in [0, 1] and gives [B] of bool."""

    def tell(ws: Workspace, asked: Sequence[ToJudge]) -> list[bool]:
        answers = [False] * len(asked)
        for positions, images_BCHW in batches(ws.store, [a.file_sha256 for a in asked], BATCH):
            tops_B = gives_top(images_BCHW, [asked[position] for position in positions])
            for position, top in zip(positions, tops_B, strict=True):
                answers[position] = bool(top)
        return answers

    return Judge(name, modalities, tell)


def shipped_judge() -> Judge:
    """Return the judge that ships (C); it knows the embedded generator's modalities only."""
    network = frozen.load_judge()

    def gives_top(images_BCHW: Tensor, asked: Sequence[ToJudge]) -> Tensor:
        modalities, labels = [a.modality for a in asked], [a.label for a in asked]
        return network.is_good(images_BCHW, modalities, labels)

    return _picture_judge("curate's judge C", frozenset(network.modalities), gives_top)


def _trained_judge(ws: Workspace, judge_id: str) -> Judge:
    model = load_reward_model(ws, judge_id)

    def gives_top(images_BCHW: Tensor, asked: Sequence[ToJudge]) -> Tensor:
        given: list[Conditioning] = []
        if model.code_ is not None:
            prompts = prompt_values(ws, list({image.prompt_id for image in asked}))
            given = [conditioning_of(prompts[image.prompt_id], montage) for image in asked]
        modalities, texts = [a.modality for a in asked], [a.text for a in asked]
        mean_B: Tensor
        mean_B, _ = model.predict(images_BCHW, modalities, texts, given)
        return mean_B >= 0.5  # the top rating is likelier than not

    return _picture_judge(f"judge {judge_id[:12]}", None, gives_top)


@torch.inference_mode()
def tops(ws: Workspace, judge: Judge, images: Sequence[ToJudge]) -> list[bool | None]:
    """Return whether each image deserves the top rating; None where the judge cannot tell."""
    known = [place for place, image in enumerate(images) if judge.knows(image)]
    answers: list[bool | None] = [None] * len(images)
    for place, top in zip(known, judge.tell(ws, [images[p] for p in known]), strict=True):
        answers[place] = top
    return answers


def share_of_top(answers: Sequence[bool | None]) -> Estimate | None:
    """Return the share of top ratings among the images that were judged; None if none was."""
    judged = [answer for answer in answers if answer is not None]
    return wilson_interval(sum(judged), len(judged)) if judged else None


def judged_difference(
    ws: Workspace, judge: Judge, pairs: Sequence[Pair]
) -> JudgedDifference | None:
    """Compare images that share prompt and seed; None where the judge can tell of none."""
    before = tops(ws, judge, [pair[0] for pair in pairs])
    after = tops(ws, judge, [pair[1] for pair in pairs])
    share_before, share_after = share_of_top(before), share_of_top(after)
    if share_before is None or share_after is None:
        return None
    by_prompt: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (image, _), top_before, top_after in zip(pairs, before, after, strict=True):
        if top_before is not None and top_after is not None:
            by_prompt[image.prompt_id].append((float(top_before), float(top_after)))
    means_P = [
        (fmean(b for b, _ in values), fmean(a for _, a in values)) for values in by_prompt.values()
    ]
    difference = paired_bootstrap([b for b, _ in means_P], [a for _, a in means_P])
    return JudgedDifference(judge.name, share_before, share_after, difference)


def judge_pairs(ws: Workspace, pairs: Sequence[Pair]) -> JudgedDifference:
    """Judge images of two versions at the same prompts and seeds.

    Raises CurateError when there is no judge for these prompts.
    """
    difference = judged_difference(ws, find_judge(ws), pairs)
    if difference is None:
        modalities = ", ".join(sorted({image.modality for image, _ in pairs}))
        raise CurateError(
            f"There is {NO_JUDGE} of {modalities}. Train one on other raters' ratings with "
            "`curate train-reward --as-judge`."
        )
    return difference


def images_to_judge(
    ws: Workspace,
    version: GeneratorVersion,
    prompts: Sequence[Prompt],
    *,
    count: int,
    first_seed: int,
    settings: SamplingSettings,
) -> list[ToJudge]:
    """Make `count` images a prompt; those of two versions, zipped, share prompts and seeds."""
    run = plan_run(ws, version, prompts, count=count, first_seed=first_seed, settings=settings)
    with progress(run.num_items, "images") as advance:
        run_plan(ws, run, advance)
    asked = {prompt.id: prompt for prompt in prompts}
    return [
        to_judge(image.file_sha256, asked[image.prompt_id])
        for image in queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))
    ]


def to_judge(file_sha256: str, prompt: Prompt) -> ToJudge:
    """Return a stored image with its prompt, as the judge takes it."""
    return ToJudge(file_sha256, prompt.id, prompt.modality, prompt.text, prompt.label)
