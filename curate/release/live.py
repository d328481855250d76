"""Whether the promises of past releases still hold, now that ratings came late or were changed.

A release is never changed; what its raters say can be. The images that its threshold admitted are
tested again with the ratings as they are now.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from curate.release.config import ALL
from curate.scoring.calibration import ratings_now
from curate.scoring.promise import Promise, Rung, keeps, lower_bound
from curate.workspace import Workspace
from db import queries
from db.models import Release

# why a drawn image that the threshold admits did not leave (`promised.py`)
FOUND_BAD = ("raters did not find it good", "drawn for rating, and not rated")


@dataclass(frozen=True)
class LivePart:
    """One promise of a release, tested again."""

    modality: str
    num_rated: int
    errors_then: int
    errors_now: int
    precision_bound: float  # at least this share is good, by the ratings as they are now
    holds: bool


@dataclass(frozen=True)
class LivePromise:
    """A release whose ratings have changed since it was exported."""

    release_id: str
    name: str
    target: float
    confidence: float
    simulated: bool  # the ratings are networks'
    num_now_bad: int  # images of the release that its raters no longer find good
    parts: tuple[LivePart, ...]

    @property
    def holds(self) -> bool:
        """Say whether every part of the promise does."""
        return all(part.holds for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "holds": self.holds}

    def line(self) -> str:
        """Return it for a person to read."""
        parts = "; ".join(
            f"{part.modality}: {part.errors_now} errors in {part.num_rated} rated, "
            f"{part.errors_then} then, so at least {100 * part.precision_bound:.1f} % good"
            for part in self.parts
        )
        who = " (simulated ratings)" if self.simulated else ""
        verdict = (
            "the promise still holds"
            if self.holds
            else f"the promise of {100 * self.target:g} % no longer holds; withdraw the release, "
            "and export anew"
        )
        bad = f"; {self.num_now_bad} of its images are now rated not good" * bool(self.num_now_bad)
        return f"release {self.name}: ratings changed since{who}: {verdict} ({parts}){bad}"


def changed_promises(ws: Workspace) -> list[LivePromise]:
    """Return the releases with a promise whose ratings are no longer those it was made with."""
    found = (_live(ws, row) for row in queries.releases.releases(ws.session))
    return [live for live in found if live is not None]


def _live(ws: Workspace, row: Release) -> LivePromise | None:
    """Return a release's promise as it stands; None where there is none, or nothing changed."""
    certificate = row.evidence.get("certificate")
    if certificate is None:
        return None
    drawn_by = certificate["calibration"]
    campaign = queries.campaigns.find_campaign(ws.session, drawn_by["campaign"])
    if campaign is None:
        return None
    good, hashes = ratings_now(ws, campaign, drawn_by["good_from"], drawn_by.get("machines", ()))
    if drawn_by["ratings_sha256"] in hashes:
        return None
    modality = {
        image.image_id: image.modality
        for image in queries.draws.drawn_images(ws.session, campaign.id)
    }
    decisions = [
        one for one in queries.releases.decisions_of(ws.session, row.id) if one.image_id in modality
    ]
    kept = {one.image_id for one in decisions if one.decision == "kept"}
    admitted = kept | {one.image_id for one in decisions if one.reason in FOUND_BAD}
    promise = Promise(certificate["target_precision"], certificate["confidence"])
    test = promise.shared_by(len(certificate["certified"]) + len(certificate["failed"]))
    return LivePromise(
        release_id=row.id,
        name=row.name,
        target=promise.target,
        confidence=promise.confidence,
        simulated=campaign.simulated,
        num_now_bad=sum(good.get(image_id) is False for image_id in kept),
        parts=tuple(
            _part(
                part,
                {i: good.get(i) for i in admitted if part["modality"] in (ALL, modality[i])},
                promise,
                test,
            )
            for part in certificate["certified"]
        ),
    )


def _part(
    part: Mapping[str, Any], verdicts: Mapping[UUID, bool | None], promise: Promise, test: Promise
) -> LivePart:
    """Test one promise again; without a rating, an image counts as an error."""
    errors = sum(verdict is not True for verdict in verdicts.values())
    num_admitted = part["num_images"] + part["num_errors"]
    return LivePart(
        modality=part["modality"],
        num_rated=len(verdicts),
        errors_then=part["num_errors"],
        errors_now=errors,
        precision_bound=lower_bound(errors, len(verdicts), promise.confidence),
        holds=keeps(Rung(part["threshold"], num_admitted, len(verdicts), errors), test),
    )
