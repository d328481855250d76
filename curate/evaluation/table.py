"""One line of figures a generator version, and one of real images beside them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import torch
from torch import nn

from curate.errors import CurateError
from curate.evaluation.config import EvaluationConfig
from curate.evaluation.diversity import ms_ssim
from curate.evaluation.features import (
    FEATURE_NETWORK,
    Reference,
    network_features,
    reference_of,
    unit,
)
from curate.evaluation.fidelity import compact, frechet, kid, of_halves
from curate.evaluation.intervals import Estimate, bootstrap_mean
from curate.evaluation.judge import NO_JUDGE, Judge, ToJudge, find_judge, share_of_top, tops
from curate.evaluation.privacy import memorised_share
from curate.progress import ShowProgress
from curate.samples.stored import batches
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from rewards import frozen
from rewards.frozen.data import to_side

FEWEST_FOR_KID = 4
FEWEST_FOR_FRECHET = 10


@dataclass(frozen=True)
class Figures:
    """What was measured of one set of images; None where it cannot be."""

    num_images: int
    top_share: Estimate | None  # the judge's share of score 3
    kid: Estimate | None  # to the training images, lower is nearer
    ms_ssim: Estimate | None  # among images of a prompt, over prompts; lower is more varied
    memorised: Estimate | None  # share nearer to a training image than the radius
    # to the training images, lower is nearer; compares between sets of as many images only
    frechet: Estimate | None = None


@dataclass(frozen=True)
class VersionFigures:
    """The figures of one generator version."""

    version_id: str
    how_made: str
    figures: Figures


@dataclass(frozen=True)
class Evaluation:
    """The figures of a workspace."""

    judge: str  # or "no independent judge"
    feature_network: str
    num_kid_images: int  # real training images that KID compares with
    num_train_images: int  # of which an image may be a copy
    radius: float  # distance under which an image counts as a copy
    versions: tuple[VersionFigures, ...]  # oldest first, those with images
    real: Figures | None  # held-out real images, where the workspace has some

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the table for a person to read."""
        columns = ("images", "judge's top share %", "KID", "Frechet", "MS-SSIM", "memorised %")
        rows = [(f"{v.version_id[:12]} {v.how_made}", v.figures) for v in self.versions]
        if self.real is not None:
            rows.append(("held-out real images", self.real))
        return [
            f"{'version':<28}" + "".join(f"{column:>24}" for column in columns),
            *(f"{name:<28}" + "".join(f"{c:>24}" for c in _cells(f)) for name, f in rows),
            f"judge: {self.judge}. KID and Frechet distance on {self.feature_network}, to "
            f"{self.num_kid_images} real images; a copy lies within {self.radius:.4f} of one of "
            f"{self.num_train_images} training images. 95 % intervals.",
            *(f"Note: {remark}" for remark in self.remarks()),
        ]

    def remarks(self, names: Mapping[str, str] | None = None) -> list[str]:
        """Say of which versions the judge thinks more than of the first while fidelity worsened.

        By KID, or by the Frechet distance of as many images. Such images please a network more and
        resemble real ones less. `names` are the versions'.
        """
        told = []
        for row in self.versions[1:]:
            first = self.versions[0]
            share, new_share = first.figures.top_share, row.figures.top_share
            worse = " and ".join(_worsened(first.figures, row.figures))
            if worse and share and new_share and new_share.value > share.value:
                ids = (first.version_id, row.version_id)
                start, end = ((names or {}).get(id_, id_[:12]) for id_ in ids)
                told.append(
                    f"from {start} to {end} the judge's top share rises "
                    f"({100 * share.value:.0f} to {100 * new_share.value:.0f} %) while {worse}: "
                    "the images please the judge more and resemble real ones less. Look at them "
                    "before the rise is trusted."
                )
        return told


def _worsened(before: Figures, after: Figures) -> list[str]:
    """Say which distances to real images have grown, and whether beyond their intervals."""
    found = [("KID", before.kid, after.kid)]
    if before.num_images == after.num_images:  # the distance falls with the number of images
        found.append(("the Frechet distance", before.frechet, after.frechet))
    return [
        f"{name} worsens ({old.value:.3f} to {new.value:.3f}; the intervals "
        f"{'do not overlap' if new.low > old.high else 'overlap'})"
        for name, old, new in found
        if old and new and new.value > old.value
    ]


def _cells(figures: Figures) -> list[str]:
    def cell(estimate: Estimate | None, times: float, digits: int) -> str:
        if estimate is None:
            return "-"
        low, high = (f"{times * end:.{digits}f}" for end in (estimate.low, estimate.high))
        return f"{times * estimate.value:.{digits}f} ({low} to {high})"

    return [
        str(figures.num_images),
        cell(figures.top_share, 100, 0),
        cell(figures.kid, 1, 3),
        cell(figures.frechet, 1, 3),
        cell(figures.ms_ssim, 1, 3),
        cell(figures.memorised, 100, 1),
    ]


@dataclass(frozen=True)
class _Instruments:
    judge: Judge
    network: nn.Module
    reference: Reference


def evaluate(ws: Workspace, config: EvaluationConfig, progress: ShowProgress) -> Evaluation:
    """Measure every generator version that has images, and held-out real images beside them.

    Raises CurateError when there are no images.
    """
    made = queries.versions.versions_with_images(ws.session)
    if not made:
        raise CurateError(
            "There is no synthetic image to measure. Make some with `curate generate`."
        )
    network = frozen.load_features()
    instruments = _Instruments(find_judge(ws), network, reference_of(ws, network))
    versions = []
    with progress(len(made), "generator versions measured") as advance:
        for version in made:
            versions.append(_of_version(ws, version, config, instruments))
            advance(1)
    real = _of_real_images(ws, config, instruments)
    judged = [figures.figures.top_share is not None for figures in versions]
    return Evaluation(
        judge=instruments.judge.name if any(judged) else NO_JUDGE,
        feature_network=FEATURE_NETWORK,
        num_kid_images=len(instruments.reference.to_resemble),
        num_train_images=len(instruments.reference.train_MD),
        radius=instruments.reference.radius,
        versions=tuple(versions),
        real=real,
    )


def _of_version(
    ws: Workspace, version: GeneratorVersion, config: EvaluationConfig, instruments: _Instruments
) -> VersionFigures:
    images = queries.images.synthetic_images(
        ws.session,
        reward_model_id=None,
        version_id=version.id,
        limit=config.images_per_version,
    )
    asked = [ToJudge(i.file_sha256, i.prompt_id, i.modality, i.text, i.label) for i in images]
    return VersionFigures(version.id, version.how_made, _measure(ws, asked, config, instruments))


def _of_real_images(
    ws: Workspace, config: EvaluationConfig, instruments: _Instruments
) -> Figures | None:
    """Held-out real images: what a generator could at best reach."""
    rows = queries.images.real_images(
        ws.session, splits=("val", "test"), limit=config.images_per_version
    )
    asked = [
        ToJudge(image.file_sha256, prompt.id, prompt.modality, prompt.text, prompt.label)
        for image, prompt in rows
    ]
    return _measure(ws, asked, config, instruments) if asked else None


def _measure(
    ws: Workspace, images: Sequence[ToJudge], config: EvaluationConfig, instruments: _Instruments
) -> Figures:
    features_ND = network_features(ws, instruments.network, [image.file_sha256 for image in images])
    reference = instruments.reference
    real = reference.to_resemble
    num = min(len(images), len(real))
    far = of_halves(frechet, *compact(features_ND, real)) if num >= FEWEST_FOR_FRECHET else None
    return Figures(
        num_images=len(images),
        top_share=share_of_top(tops(ws, instruments.judge, images)),
        kid=kid(features_ND, real) if num >= FEWEST_FOR_KID else None,
        frechet=far,
        ms_ssim=similarity_within_prompts(ws, images, config.images_per_prompt),
        memorised=memorised_share(
            unit(features_ND), unit(reference.train_MD), radius=reference.radius
        ),
    )


def similarity_within_prompts(
    ws: Workspace, images: Sequence[ToJudge], images_per_prompt: int
) -> Estimate | None:
    """Return the mean MS-SSIM of pairs of one prompt, over prompts, at 64 pixels and 3 scales.

    The first `images_per_prompt` of each prompt are compared pairwise; None without any pair.
    """
    by_prompt: dict[str, list[str]] = defaultdict(list)
    for image in images:
        by_prompt[image.prompt_id].append(image.file_sha256)
    means_P = [
        _mean_similarity(ws, hashes[:images_per_prompt])
        for _, hashes in sorted(by_prompt.items())
        if len(hashes) > 1
    ]
    return bootstrap_mean(means_P) if means_P else None


def _mean_similarity(ws: Workspace, sha256s: Sequence[str]) -> float:
    """Return the mean MS-SSIM of all pairs of these images, made small."""
    read = batches(ws.store, sha256s, len(sha256s))
    images_BCHW = torch.cat([to_side(images) for _, images in read])
    pairs = list(combinations(range(len(images_BCHW)), 2))
    first = images_BCHW[[a for a, _ in pairs]]
    return float(ms_ssim(first, images_BCHW[[b for _, b in pairs]]).mean())
