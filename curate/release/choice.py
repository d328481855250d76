"""Which images go out, and all that stands behind them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import UUID

from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.features import (
    FEATURE_NETWORK,
    Reference,
    network_features,
    reference_of,
    unit,
)
from curate.production.plan import settings_hash
from curate.progress import ShowProgress
from curate.release.certificate import Certificate
from curate.release.classes import ClassKept, kept_by_class
from curate.release.config import ExportConfig
from curate.release.contradictions import KEEP, Twins, find_twins, twins_lines
from curate.release.edits import EditsBehind, edits_behind
from curate.release.entries import Entry, entries_of, real_for_release
from curate.release.label_check import LabelCheck, check_labels
from curate.release.lineage import Lineage, lineage_of
from curate.release.promised import Promised, select_with_promise
from curate.release.selection import Decision, Features, Known, select_images
from curate.release.splits import shares_of
from curate.scoring.calibration import find_calibration
from curate.scoring.promise import Promise
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt, RewardModel
from db.queries.images import ScoredImage
from rewards import frozen


@dataclass(frozen=True)
class Chosen:
    """The images of a release and all that stands behind them."""

    config: ExportConfig
    reward_model: RewardModel
    decisions: Sequence[Decision]  # by item key
    entries: Sequence[Entry]  # what goes into the folder, by path
    lineage: Lineage
    reference: Reference
    promised: Promised | None = None
    mixed_settings: Mapping[str, int] = field(default_factory=dict)  # images by what differs
    twins: Twins = field(default_factory=Twins)  # nearly equal images that leave with two labels
    label_check: LabelCheck | None = None
    train_distances: Mapping[UUID, float] = field(default_factory=dict)  # of what was compared
    edits: EditsBehind | None = None

    @property
    def certificate(self) -> Certificate | None:
        """What is promised of the images, if anything is."""
        return None if self.promised is None else self.promised.certificate

    @cached_property
    def kept(self) -> dict[str, Decision]:
        """The synthetic images that go out, by their path in the folder."""
        by_image = {d.image.image_id: d for d in self.decisions if d.kept}
        return {
            entry.path: by_image[entry.image_id]
            for entry in self.entries
            if entry.origin == "synthetic"
        }

    @property
    def classes(self) -> list[ClassKept]:
        """What is kept of each modality and label that was offered."""
        kept = Counter((d.image.modality, d.image.label) for d in self.kept.values())
        offered = Counter((d.image.modality, d.image.label) for d in self.decisions)
        return kept_by_class(kept, offered, quota=self.config.quota)

    @property
    def label_notes(self) -> list[str]:
        """What a user of the set should know of its labels and edits, a line each."""
        return [
            *twins_lines(self.twins),
            *(self.label_check.lines() if self.label_check else []),
            *(self.edits.lines() if self.edits else []),
        ]

    @property
    def threshold(self) -> float:
        """The score from which images were kept; the lowest, where modalities have their own."""
        return min(decision.threshold for decision in self.kept.values())


def choose(ws: Workspace, config: ExportConfig, progress: ShowProgress) -> Chosen:
    """Decide about every synthetic image, of one version or of all."""
    shares = shares_of(config.val_share, config.test_share)
    model = queries.reward_models.find_reward_model(ws.session, config.reward_model)
    version = queries.versions.find_version(ws.session, config.version) if config.version else None
    scored = queries.images.synthetic_images(
        ws.session, reward_model_id=model.id, version_id=version.id if version else None
    )
    scored = _of_runs(ws, scored, config.run)
    images = cautious(scored, config.spread_penalty)
    network = frozen.load_features()
    reference = reference_of(ws, network)

    def features(waiting: Sequence[ScoredImage]) -> Tensor:
        with progress(len(waiting), "images compared") as advance:
            hashes = [image.file_sha256 for image in waiting]
            return unit(network_features(ws, network, hashes, advance))

    labels = None if config.label_check is None else check_labels(ws, images, config.label_check)
    twins = Twins()

    def worse_twins(best_first: Sequence[ScoredImage]) -> Mapping[str, str]:
        nonlocal twins
        twins = find_twins(ws, best_first)
        return {} if config.contradictions == KEEP else twins.worse(best_first)

    distances: dict[UUID, float] = {}
    known = replace(
        _known(ws, images, reference), worse_twins=worse_twins, note_distances=distances.update
    )
    if labels is not None:
        known = replace(known, unfit=labels.reason)
    promised = _promised(ws, config, images, known, features, model)
    if promised and labels:
        certificate = replace(promised.certificate, label_check=labels.to_json())
        promised = replace(promised, certificate=certificate)
    decisions = promised.decisions if promised else select_images(images, config, known, features)
    kept = [decision.image for decision in decisions if decision.kept]
    real = _share_of(real_for_release(ws), config, len(kept)) if config.with_real else []
    leave = twins.among({image.item_key for image in kept})
    entries = entries_of(ws, kept, real, shares, leave.groups())
    edits = edits_behind(ws, kept, entries)
    if promised and edits:
        certificate = replace(promised.certificate, edits=edits.to_json())
        promised = replace(promised, certificate=certificate)
    versions = {image.version_id for image in kept}
    lineage = lineage_of(ws, version_ids=versions, reward_model_id=model.id)
    mixed = mixed_settings(ws, kept)
    return Chosen(
        config, model, decisions, entries, lineage, reference, promised, mixed, leave, labels,
        distances, edits,
    )  # fmt: skip


def _of_runs(ws: Workspace, images: list[ScoredImage], names: Sequence[str]) -> list[ScoredImage]:
    """Return the images of these runs; without a name all."""
    runs = [queries.runs.find_run(ws.session, name) for name in names]
    made = {
        image.id
        for run in runs
        for image in queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))
    }
    return [image for image in images if image.image_id in made] if names else images


def _known(ws: Workspace, images: Sequence[ScoredImage], reference: Reference) -> Known:
    """Return what the workspace knows that a new image must differ from."""
    rejected = queries.rounds.rejected_versions(ws.session)
    learned = queries.images.real_images(ws.session, splits=("train", None))
    return Known(
        real_pixels=queries.images.real_pixels_among(
            ws.session, [image.pixels_sha256 for image in images]
        ),
        train_MD=unit(reference.train_MD),
        radius=reference.radius,
        rejected_versions={
            version_id: f"by the gate of round {row.number} of {row.loop_name}"
            for version_id, row in rejected.items()
        },
        own_patients=[image.patient for image, _ in learned],
        behind=queries.prompts.patients_behind(ws.session, [i.prompt_id for i in images]),
    )


def mixed_settings(ws: Workspace, images: Sequence[ScoredImage]) -> dict[str, int]:
    """Return how many images were sampled with which settings, named by what differs.

    Of images that were all sampled alike there is nothing to say.
    """
    num = Counter(image.settings_hash for image in images)
    ids = {image.settings_hash: image.image_id for image in images}
    rows = queries.images.images_by_id(ws.session, list(ids.values()))
    settings = {name: rows[image_id][0].settings or {} for name, image_id in ids.items()}
    names = sorted({name for own in settings.values() for name in own})
    differ = [n for n in names if len({repr(own.get(n)) for own in settings.values()}) > 1]
    return {
        ", ".join(f"{name} {settings[hash_].get(name, 'as usual')}" for name in differ): count
        for hash_, count in num.most_common()
        if differ
    }


def cautious(images: Sequence[ScoredImage], penalty: float) -> list[ScoredImage]:
    """Return the images with so many spreads taken off their scores, never below 0.

    An image unlike every rated one has a large spread and a score near the usual: with a penalty
    it must be better than usual to leave.
    """
    if penalty < 0:
        raise CurateError(f"A spread penalty of {penalty}: it must be 0 or more.")
    return [
        image
        if image.score is None or image.spread is None
        else replace(image, score=max(0.0, image.score - penalty * image.spread))
        for image in images
    ]


def _share_of(
    real: list[tuple[Image, Prompt]], config: ExportConfig, num_synthetic: int
) -> list[tuple[Image, Prompt]]:
    """Return so many real images that they are at most the share asked for.

    They come by the hashes of their pixels: an order that has nothing to do with what they show.
    """
    if config.real_share is None:
        return real
    if not 0 < config.real_share < 1:
        raise CurateError(f"A real share of {config.real_share}: it must be above 0 and below 1.")
    return real[: int(num_synthetic * config.real_share / (1 - config.real_share))]


def _promised(
    ws: Workspace,
    config: ExportConfig,
    images: Sequence[ScoredImage],
    known: Known,
    features: Features,
    model: RewardModel,
) -> Promised | None:
    """Select with a promise where one is asked for; without calibration ratings that is refused."""
    if config.target_precision is None:
        return None
    promise = Promise(config.target_precision, config.confidence)
    calibration = find_calibration(
        ws,
        promise=promise,
        reward_model_id=model.id,
        campaign=config.calibration,
        good=config.good,
        version_id=queries.versions.find_version(ws.session, config.version).id
        if config.version
        else None,
        machines=config.machines,
    )
    return select_with_promise(images, config, known, features, calibration, promise)


def rule_json(chosen: Chosen) -> dict[str, Any]:
    """Return what admitted the images: options and the numbers that they came to."""
    return {
        **chosen.config.to_json(),
        "reward_model_id": chosen.reward_model.id,
        "threshold": chosen.threshold,
        "feature_network": FEATURE_NETWORK,
        "near_duplicate_radius": chosen.reference.radius,
        "num_train_images_compared": len(chosen.reference.train_MD),
        **({} if chosen.label_check is None else {"label_check": chosen.label_check.to_json()}),
    }
