"""Whose pictures the edits of a release are: an edit shows its prior's patient."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from curate.rating.edits import ROLE
from curate.release.entries import Entry
from curate.release.splits import TRAIN
from curate.workspace import Workspace
from db import queries
from db.queries.images import ScoredImage


@dataclass(frozen=True)
class EditsBehind:
    """How many real patients stand behind the edits of a release."""

    num_edits: int
    num_priors: int
    num_patients: int
    num_priors_of_nobody: int  # imported without a patient
    num_held_out_in_train: int  # of patients who were imported for validation or testing

    def to_json(self) -> dict[str, int]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for a person to read."""
        nobody, many = self.num_priors_of_nobody, self.num_patients != 1
        unknown = f" (of {nobody} priors no patient is known)" if nobody else ""
        told = [
            f"{self.num_edits} edits of {self.num_priors} priors: {self.num_patients} real "
            f"{'patients stand' if many else 'patient stands'} behind them{unknown}"
        ]
        if self.num_held_out_in_train:
            told.append(
                f"{self.num_held_out_in_train} edits in train are of patients who were imported "
                "for validation or testing: --val-share or --test-share keeps them apart"
            )
        return told


def edits_behind(
    ws: Workspace, kept: Sequence[ScoredImage], entries: Sequence[Entry]
) -> EditsBehind | None:
    """Return who stands behind the edits that leave; None where none is an edit."""
    found = queries.prompts.images_behind(ws.session, [image.prompt_id for image in kept])
    given = queries.prompts.conditions_of(ws.session, list(found))
    priors = {
        image.image_id: given[image.prompt_id][ROLE]
        for image in kept
        if ROLE in given.get(image.prompt_id, {})
    }
    if not priors:
        return None
    behind = [one for some in found.values() for one in some if one.role == ROLE]
    whose = {one.file_sha256: one.patient for one in behind if one.patient}
    held_out = {one.file_sha256 for one in behind if one.split not in (TRAIN, None)}
    in_train = [entry for entry in entries if entry.split == TRAIN]
    return EditsBehind(
        num_edits=len(priors),
        num_priors=len(set(priors.values())),
        num_patients=len(set(whose.values())),
        num_priors_of_nobody=len(set(priors.values()) - set(whose)),
        num_held_out_in_train=sum(priors.get(entry.image_id) in held_out for entry in in_train),
    )
