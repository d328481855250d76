"""Which images go out, and all that stands behind them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from curate.evaluation.features import FEATURE_NETWORK, Reference, features_of, reference_of, unit
from curate.export.config import ExportConfig
from curate.export.lineage import Lineage, lineage_of
from curate.export.tables import IMAGES
from curate.progress import ShowProgress
from curate.selection import Decision, Known, select_images
from curate.workspace import Workspace
from db import queries, queries_release, queries_reward
from db.models import RewardModel
from db.queries_release import ScoredImage
from rewards import frozen


@dataclass(frozen=True)
class Chosen:
    """The images of a release and all that stands behind them."""

    config: ExportConfig
    reward_model: RewardModel
    decisions: Sequence[Decision]  # by item key
    lineage: Lineage
    reference: Reference

    @cached_property
    def kept(self) -> dict[str, Decision]:
        """The images that go out, by their path in the folder."""
        return {
            image_path(decision.image): decision
            for decision in sorted(self.decisions, key=lambda d: image_path(d.image))
            if decision.kept
        }


def choose(ws: Workspace, config: ExportConfig, progress: ShowProgress) -> Chosen:
    """Decide about every synthetic image, of one version or of all."""
    model = queries_reward.find_reward_model(ws.session, config.reward_model)
    version = queries.find_version(ws.session, config.version) if config.version else None
    images = queries_release.synthetic_images(
        ws.session, reward_model_id=model.id, version_id=version.id if version else None
    )
    network = frozen.load_features()
    reference = reference_of(ws, network)

    def features(waiting: Sequence[ScoredImage]) -> Tensor:
        with progress(len(waiting), "images compared") as advance:
            hashes = [image.file_sha256 for image in waiting]
            return unit(features_of(ws, network, hashes, advance))

    decisions = select_images(images, config, _known(ws, images, reference), features)
    versions = {decision.image.version_id for decision in decisions if decision.kept}
    lineage = lineage_of(ws, version_ids=versions, reward_model_id=model.id)
    return Chosen(config, model, decisions, lineage, reference)


def image_path(image: ScoredImage) -> str:
    """Return an image's place in the folder: by modality, named by its content."""
    modality = re.sub(r"[^A-Za-z0-9]+", "-", image.modality).strip("-") or "other"
    return f"{IMAGES}/{modality}/{image.file_sha256[:24]}.png"


def _known(ws: Workspace, images: Sequence[ScoredImage], reference: Reference) -> Known:
    rejected = queries_release.rejected_versions(ws.session)
    return Known(
        real_pixels=queries_release.real_pixels_among(
            ws.session, [image.pixels_sha256 for image in images]
        ),
        train_MD=unit(reference.train_MD),
        radius=reference.radius,
        rejected_versions={
            version_id: f"by the gate of round {row.number} of {row.loop_name}"
            for version_id, row in rejected.items()
        },
    )


def rule_json(chosen: Chosen) -> dict[str, Any]:
    """Return what admitted the images: options and the numbers that they came to."""
    return {
        **chosen.config.to_json(),
        "reward_model_id": chosen.reward_model.id,
        "threshold": chosen.decisions[0].threshold,
        "feature_network": FEATURE_NETWORK,
        "near_duplicate_radius": chosen.reference.radius,
        "num_train_images_compared": len(chosen.reference.train_MD),
    }
