"""What simulated raters look through: networks on pictures, or a family's own look at samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from annotation.base import Task
from annotation.simulated import IMAGES_A_PULL, Eyes, GradesCriteria, Look, Truths
from curate.production.images import prompt_values
from curate.rating.rubrics import load_rubric
from curate.samples.formats import read_sample
from curate.samples.stored import batches
from curate.simulated import simulated_for
from curate.workspace import Workspace
from db import queries
from db.models import SIDES, GeneratorVersion, Rubric
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
    family = None if version is None else queries.versions.family_of(ws.session, version)
    return simulated_for(ws, family) or load_eyes()


def criteria_of(eyes: RaterEyes) -> tuple[str, ...]:
    """Return the criteria that these eyes grade one by one; none: one grade for all."""
    return eyes.criteria if isinstance(eyes, GradesCriteria) else ()


def grade_ends(eyes: RaterEyes, *, by_criterion: bool) -> tuple[float, ...]:
    """Return where one grade ends and the next begins, in the unit of `truths`."""
    return (0.0, 1.0) if by_criterion else tuple(eyes.thresholds)


def rubric_of(ws: Workspace, eyes: RaterEyes | None) -> Rubric:
    """Return the rubric that raters with these eyes, or people, can answer: the default's.

    A family's own raters may have their own.
    """
    if isinstance(eyes, Simulated) and eyes.rubric is not None:
        return load_rubric(ws, eyes.rubric)
    version = 2 if eyes is None or criteria_of(eyes) else 1
    return queries.campaigns.default_rubric(ws.session, version)[0]


def truths(
    ws: Workspace, eyes: RaterEyes, seen: Sequence[Seen], *, by_criterion: bool = False
) -> list[float | Mapping[str, float]]:
    """Return the latent quality of each, higher is better, or that of each criterion."""
    if isinstance(eyes, Simulated):
        prompts = prompt_values(ws, list(dict.fromkeys(one.prompt_id for one in seen)))
        look = eyes.grades if by_criterion and eyes.grades is not None else eyes.quality
        return [
            look(read_sample(ws.store, one.file_sha256), prompts[one.prompt_id]) for one in seen
        ]
    found: list[float | Mapping[str, float]] = [0.0] * len(seen)
    files = [one.file_sha256 for one in seen]
    for positions, images_B3HW in batches(ws.store, files, IMAGES_A_PULL):
        of = [seen[position] for position in positions]
        asked = [one.modality for one in of], [one.label for one in of]
        if by_criterion and isinstance(eyes, GradesCriteria):
            grades = eyes.grades(images_B3HW, *asked)
            for row, position in enumerate(positions):
                found[position] = {name: float(own_B[row]) for name, own_B in grades.items()}
            continue
        for position, truth in zip(
            positions, eyes.truth(images_B3HW, *asked).tolist(), strict=True
        ):
            found[position] = truth
    return found


def looking(
    ws: Workspace,
    eyes: RaterEyes,
    asked: Mapping[str, tuple[str, str | None]],
    *,
    by_criterion: bool,
) -> Look:
    """Return how simulated raters look at tasks, whose pictures are named by their files.

    `asked` is what each was asked to show: {task: (prompt, label)}.
    """

    def look(tasks: Sequence[Task]) -> list[Truths]:
        shown = [
            (place, side)
            for place, task in enumerate(tasks)
            for side in SIDES
            if side in task.pictures
        ]
        seen = []
        for place, side in shown:
            task = tasks[place]
            prompt_id, label = asked[task.uid]
            seen.append(Seen(task.pictures[side], prompt_id, task.modality, label))
        found: list[dict[str, float | Mapping[str, float]]] = [{} for _ in tasks]
        looked = truths(ws, eyes, seen, by_criterion=by_criterion)
        for (place, side), truth in zip(shown, looked, strict=True):
            found[place][side] = truth
        return list(found)

    return look
