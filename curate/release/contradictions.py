"""Images that look alike and say different things: at most one of them leaves.

Pairs are found as `curate evaluate` measures them. What is alike by design, versions of one
condition image, is told apart: it may leave, in one group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from curate.evaluation.classifiers import pixels_of
from curate.evaluation.label_truth import contradictions
from curate.evaluation.sets import ImageSet, made_image
from curate.workspace import Workspace
from db import queries
from db.queries.images import ScoredImage

KEEP, DROP = "keep", "drop"
BY_DESIGN = ("prior", "source", "mask")  # roles of the condition images that versions share


@dataclass(frozen=True)
class Twins:
    """Pairs of item keys that are nearly equal under different labels of one modality."""

    against: Sequence[tuple[str, str]] = ()  # each other's contradiction
    by_design: Sequence[tuple[str, str]] = ()  # of one condition image: an edit, an effect's pair
    label_of: Mapping[str, str | None] = field(default_factory=dict)

    def worse(self, best_first: Sequence[ScoredImage]) -> dict[str, str]:
        """Return {item key: reason} of the images that contradict a better one that stays."""
        others: dict[str, list[str]] = {}
        for one, other in self.against:
            others.setdefault(one, []).append(other)
            others.setdefault(other, []).append(one)
        stays: set[str] = set()
        reasons = {}
        for image in best_first:
            better = next((o for o in others.get(image.item_key, ()) if o in stays), None)
            if better is None:
                stays.add(image.item_key)
            else:
                label = self.label_of[better] or "no label"
                reasons[image.item_key] = (
                    f"nearly equal to a better image of another label: {better[:12]}, {label}"
                )
        return reasons

    def among(self, kept: set[str]) -> "Twins":
        """Return the pairs of which both leave."""
        return Twins(
            [pair for pair in self.against if kept.issuperset(pair)],
            [pair for pair in self.by_design if kept.issuperset(pair)],
            self.label_of,
        )

    def groups(self) -> dict[str, set[str]]:
        """Return {item key: names of what it shares with its twins}, so that splits stay apart."""
        shared: dict[str, set[str]] = {}
        for number, pair in enumerate([*self.against, *self.by_design]):
            for key in pair:
                shared.setdefault(key, set()).add(f"twins {number}")
        return shared


def find_twins(ws: Workspace, images: Sequence[ScoredImage]) -> Twins:
    """Return the pairs among the images; what they show is looked at, no score."""
    seen = ImageSet(
        name="offered",
        images=tuple(replace(made_image(image), name=image.item_key) for image in images),
        store=ws.store,
        cache=ws.cache,
    )
    if len({image.shown for image in seen.images if image.label is not None}) < 2:
        return Twins()
    found = contradictions(pixels_of(seen), seen.images)
    if found is None:
        return Twins()
    prompts = {image.prompt for pair in found.pairs for image in (pair.first, pair.second)}
    given = {
        prompt: {file for role, file in files.items() if role in BY_DESIGN}
        for prompt, files in queries.prompts.conditions_of(ws.session, sorted(prompts)).items()
    }
    against, by_design = list[tuple[str, str]](), list[tuple[str, str]]()
    for pair in found.pairs:
        shares = given.get(pair.first.prompt, set()) & given.get(pair.second.prompt, set())
        (by_design if shares else against).append((pair.first.name, pair.second.name))
    labels = {image.item_key: image.label for image in images}
    return Twins(tuple(against), tuple(by_design), labels)


def twins_lines(leave: Twins) -> list[str]:
    """Return what a person should know of nearly equal images that leave with different labels."""
    lines = []
    if leave.against:
        num = len({key for pair in leave.against for key in pair})
        lines.append(
            f"WARNING: {num} images are nearly equal to one of another label and leave all the "
            f"same (--contradictions {KEEP}), each with its twins in one group"
        )
    if leave.by_design:
        num = len({key for pair in leave.by_design for key in pair})
        lines.append(
            f"{num} images are nearly equal to one of another label by design, as they were made "
            "from one condition image: each with its twins in one group"
        )
    return lines
