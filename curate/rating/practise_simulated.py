"""Simulated raters practise as people do, by the same rows: the whole way runs without anybody."""

import json
from dataclasses import replace

from annotation.base import Task
from annotation.simulated import SimulatedBackend
from curate.rating.eyes import RaterEyes, criteria_of, grade_ends, looking
from curate.rating.practised import criteria_asked, image_asked, record, standings
from curate.rating.send import study_of
from curate.samples.spoiling import spoiled_file
from curate.workspace import Workspace
from db import queries
from db.models import SIDES, Campaign, Practice, Rater
from db.queries.practices import PracticeImage

MOST_PASSES = 3  # of one command: they do not learn, so a further one is only another chance


def practise(ws: Workspace, campaign: Campaign, eyes: RaterEyes) -> None:
    """Let simulated raters pass what comes before their campaign, if anything does.

    Who meets the bar in none of a few passes is not asked, and goes on when the command is
    repeated. One that was stopped in the middle goes on where it stood.
    """
    found = queries.practices.practice_of(ws.session, campaign.id)
    if found is None:
        return
    practice = found[0]
    images = queries.practices.images_of(ws.session, practice.id)
    by_criterion = {row.name for row in criteria_asked(ws, practice)} <= set(criteria_of(eyes))
    look = looking(
        ws,
        eyes,
        {str(one.item.id): (one.prompt.id, one.prompt.label) for one in images},
        by_criterion=by_criterion,
    )
    ends = grade_ends(eyes, by_criterion=by_criterion)
    for rater in queries.campaigns.raters_of(ws.session, campaign.id):
        for _ in range(MOST_PASSES):
            _take_pass(ws, campaign, practice, images, rater, SimulatedBackend(ends, look))


def _take_pass(
    ws: Workspace,
    campaign: Campaign,
    practice: Practice,
    images: list[PracticeImage],
    rater: Rater,
    backend: SimulatedBackend,
) -> None:
    """Answer what is left of the rater's pass at hand; nothing where the rater has passed."""
    [now] = standings(ws, practice, {rater.id})
    if now.has_passed:
        return
    first = len(now.passes) * practice.pass_size
    tasks = []
    for number in range(first + now.num_begun, first + practice.pass_size):
        one = image_asked(practice, images, rater.name, number)
        shown = one.image.file_sha256
        if one.item.spoiled is not None:
            shown = spoiled_file(ws, shown, one.item.spoiled)
        tasks.append(
            Task(
                uid=str(one.item.id),
                rater=rater.name,
                position=number,
                look=len(now.passes),
                pictures={SIDES[0]: shown},
                modality=one.prompt.modality,
                text=one.prompt.text,
            )
        )
    habits = {rater.name: json.dumps(rater.config)}
    study = replace(study_of(ws, campaign), name=f"practice {practice.name}", raters=habits)
    backend.push(study, tasks)
    verdicts: dict[str, dict[str, int]] = {task.uid: {} for task in tasks}
    for pulled in backend.pull(study, {}):
        for answer in pulled.answers:
            assert isinstance(answer.value, int)  # nobody is asked for a preference here
            verdicts[answer.task_uid][answer.criterion] = answer.value
    for task in tasks:
        record(ws, practice, images, rater, task.position, verdicts[task.uid])
