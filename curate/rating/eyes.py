"""What simulated raters look through: networks on pictures, or a family's own look at samples."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotation.simulated import IMAGES_A_PULL, Eyes
from curate.production.images import prompt_values
from curate.samples.formats import read_sample
from curate.samples.stored import batches
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from generators.registry import simulated_of
from generators.simulated import Simulated
from rewards.frozen import load_eyes

RaterEyes = Eyes | Simulated


@dataclass(frozen=True)
class Seen:
    """A picture before a simulated rater, and what it was asked to show."""

    file_sha256: str
    prompt_id: str
    modality: str
    label: str | None


def eyes_for(ws: Workspace, version: GeneratorVersion | None) -> RaterEyes:
    """Return the eyes of the version's family; of a family without any, those that ship."""
    family = version and queries.versions.family_of(ws.session, version)
    return (family and simulated_of(family)) or load_eyes()


def truths(ws: Workspace, eyes: RaterEyes, seen: Sequence[Seen]) -> list[float]:
    """Return the latent quality of each, higher is better."""
    if isinstance(eyes, Simulated):
        prompts = prompt_values(ws, list(dict.fromkeys(one.prompt_id for one in seen)))
        return [
            eyes.quality(read_sample(ws.store, one.file_sha256), prompts[one.prompt_id])
            for one in seen
        ]
    found = [0.0] * len(seen)
    files = [one.file_sha256 for one in seen]
    for positions, images_B3HW in batches(ws.store, files, IMAGES_A_PULL):
        of = [seen[position] for position in positions]
        truth_B = eyes.truth(images_B3HW, [one.modality for one in of], [one.label for one in of])
        for position, truth in zip(positions, truth_B.tolist(), strict=True):
            found[position] = truth
    return found
