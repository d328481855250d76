"""What a new version is checked for before people are asked about it: the marks of a fooled reward.

The new version's images are compared with those of the version that the round started from, at
equal prompts and seeds. Nothing here was trained on ratings: network D, fixed statistics, MS-SSIM.
Shapes: B images, D features.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from curate.evaluation.diversity import vendi_score
from curate.evaluation.features import Reference, network_features, reference_of, unit
from curate.evaluation.judge import ToJudge
from curate.evaluation.novelty import far_share
from curate.evaluation.privacy import memorised_share
from curate.evaluation.statistics import STATISTICS, image_statistics
from curate.evaluation.table import similarity_within_prompts
from curate.loop.config import SafetyLimits
from curate.workspace import Workspace
from db import queries
from db.models import Image
from rewards import frozen

GREY_LEVEL = 1 / 255  # statistics that differ less between images have no spread to speak of


@dataclass(frozen=True)
class Appearance:
    """What one version's images look like in figures."""

    likeness: float | None  # MS-SSIM among images of a prompt; None without two of one
    vendi: float  # effective number of different images among those of a prompt, mean over prompts
    copied: float  # lower end of the 95 % interval of the share of near-copies of training images
    far: float  # share farther out than 99 % of the training images


@dataclass(frozen=True)
class Checked:
    """What was found; no reason: nothing speaks against asking people."""

    reasons: tuple[str, ...]
    metrics: dict[str, Any]


def check_new_version(
    ws: Workspace, start: Sequence[Image], new: Sequence[Image], limits: SafetyLimits
) -> Checked:
    """Compare the images of two versions at equal prompts and seeds."""
    network = frozen.load_features()
    reference = reference_of(ws, network)
    features = {
        name: network_features(ws, network, [image.file_sha256 for image in images])
        for name, images in (("start", start), ("new", new))
    }
    before = _look(ws, start, features["start"], reference)
    after = _look(ws, new, features["new"], reference)
    shifts = _shifts(ws, start, new)
    reasons = _reasons(before, after, limits)
    reasons += [
        f"{modality}: the images' {name} moved by {shift:+.1f} standard deviations (at most "
        f"{limits.max_shift:.1f})"
        for modality, values in sorted(shifts.items())
        for name, shift in values.items()
        if abs(shift) > limits.max_shift
    ]
    metrics = {"start": asdict(before), "new": asdict(after), "shifts": shifts}
    return Checked(tuple(reasons), metrics)


def _look(
    ws: Workspace, images: Sequence[Image], features_BD: Tensor, reference: Reference
) -> Appearance:
    unit_BD, train_MD = unit(features_BD), unit(reference.train_MD)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(images):
        rows[image.prompt_id].append(row)
    vendi = [vendi_score(unit_BD[of_one_prompt]) for of_one_prompt in rows.values()]
    likeness = similarity_within_prompts(ws, _asked(ws, images), len(images))
    return Appearance(
        likeness=None if likeness is None else likeness.value,
        vendi=sum(vendi) / len(vendi),
        copied=memorised_share(unit_BD, train_MD, radius=reference.radius).low,
        far=far_share(features_BD, reference.train_MD),
    )


def _asked(ws: Workspace, images: Sequence[Image]) -> list[ToJudge]:
    return [
        ToJudge(image.file_sha256, prompt.id, prompt.modality, prompt.text, prompt.label)
        for image, prompt in zip(
            images, queries.prompts.prompts_of(ws.session, images), strict=True
        )
    ]


def _reasons(before: Appearance, after: Appearance, limits: SafetyLimits) -> list[str]:
    found = []
    if before.likeness is not None and after.likeness is not None:
        rise = after.likeness / before.likeness - 1
        if rise > limits.max_likeness_rise:
            found.append(
                f"images of one prompt became more alike: MS-SSIM {before.likeness:.3f} to "
                f"{after.likeness:.3f} ({rise:+.0%}; at most {limits.max_likeness_rise:+.0%})"
            )
    if after.vendi < (1 - limits.max_vendi_fall) * before.vendi:
        found.append(
            f"fewer different images a prompt: Vendi score {before.vendi:.2f} to {after.vendi:.2f} "
            f"(at most {limits.max_vendi_fall:.0%} less)"
        )
    if after.copied > limits.max_copied:
        found.append(
            f"copies of training images: at least {after.copied:.0%}, at most "
            f"{limits.max_copied:.0%} allowed"
        )
    if after.far - before.far > limits.max_far_rise:
        found.append(
            f"images unlike any training image: {before.far:.0%} to {after.far:.0%} (at most "
            f"{limits.max_far_rise:+.0%})"
        )
    return found


def _shifts(
    ws: Workspace, start: Sequence[Image], new: Sequence[Image]
) -> dict[str, dict[str, float]]:
    """Return {modality: {statistic: how far the mean moved, in standard deviations of start}}."""
    asked = _asked(ws, start)
    values = {
        name: image_statistics(ws, [image.file_sha256 for image in images])
        for name, images in (("start", start), ("new", new))
    }
    rows: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(asked):
        rows[image.modality].append(row)
    shifts = {}
    for modality, group in rows.items():
        before, after = values["start"][group], values["new"][group]
        spread = before.std(dim=0, correction=0).clamp(min=GREY_LEVEL)
        moved = (after.mean(dim=0) - before.mean(dim=0)) / spread
        shifts[modality] = dict(zip(STATISTICS, moved.tolist(), strict=True))
    return shifts
