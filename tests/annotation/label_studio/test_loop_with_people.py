"""The loop with two people at a real Label Studio: each call does what is possible and waits."""

from pathlib import Path

import pytest

from curate.loop.config import LoopConfig
from curate.loop.rounds import Looped, run_loop
from curate.production.versions import save_version
from curate.rating.label_studio import label_studio_backend
from curate.rating.raters import Raters
from curate.rating.send import study_of
from curate.workspace import open_workspace
from db import queries
from db.models import Campaign
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import RLConfig
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import Rater

pytestmark = [pytest.mark.slow, pytest.mark.apart]

CONFIG = LoopConfig(
    name="people",
    raters="label-studio",
    images_per_prompt=10,
    gate_images_per_prompt=2,
    gate_real_images=4,
    sampling=SamplingSettings(num_steps=3, batch_size=16),
    rl=RLConfig(num_updates=1, prompts_per_update=2, group_size=4, num_steps=3),
)


def go_on(served: Served, base_id: str) -> Looped:
    """Do what is possible now, as a new process would."""
    with open_workspace(served.folder) as ws:
        prompts = [
            queries.prompts.get_or_add_prompt(ws.session, modality=modality, text="normal")
            for modality in ("OCT", "CXR")
        ]
        base = queries.versions.find_version(ws.session, base_id)
        people = Raters()
        looped = run_loop(
            ws,
            CONFIG,
            rounds=2,
            base=base,
            prompts=prompts,
            raters=people,
            say=lambda line: None,
        )
        for row in looped.rounds:
            ws.session.refresh(row)
            ws.session.expunge(row)
        return looped


def project_of(served: Served, looped: Looped, rater: Rater) -> int:
    """Return where the rater answers what the loop waits for."""
    row = looped.rounds[-1]
    with open_workspace(served.folder) as ws:
        campaign = ws.session.get(Campaign, row.gate_campaign_id or row.campaign_id)
        assert campaign is not None
        pages = label_studio_backend(ws).rating_pages(study_of(ws, campaign))
    page = pages[rater.email.split("@")[0]]
    return int(page.split("/projects/")[1].split("/")[0])


def answer(rater: Rater, project: int, *, at_most: int = 1000) -> None:
    """Answer what is open: half of it is fit for training, for what is learned does not matter."""
    for _ in range(at_most):
        task = rater.next_task(project)
        if task is None:
            return
        grade = "3" if task["id"] % 2 else "1"
        rater.rate(task, **{"looks-real": grade, "shows-asked": grade})


def test_two_rounds_wait_for_two_people_whatever_is_restarted(
    served: Served, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    with open_workspace(served.folder) as ws:
        base = save_version(
            ws, tmp_path / "tiny", generator_name="t", family="text-to-image", how_made="imported"
        )
        base_id = base.id
    ann, ben = served.raters["ann"], served.raters["ben"]
    seen = []
    for _ in range(4):  # each round waits twice: for its ratings, for its gate's
        looped = go_on(served, base_id)
        assert looped.waits_for is not None
        seen.append((looped.rounds[-1].number, looped.rounds[-1].state))
        assert "0 of" in looped.waits_for
        assert ann.log_in()
        answer(ann, project_of(served, looped, ann), at_most=3)
        waiting = go_on(served, base_id)
        assert waiting.waits_for is not None and "ann 3 of" in waiting.waits_for
        if seen[-1] in ((1, "pushed"), (2, "gate_pushed")):
            served.restart()
        for rater in (ann, ben):
            assert rater.log_in()
            answer(rater, project_of(served, waiting, rater))
    assert seen == [(1, "pushed"), (1, "gate_pushed"), (2, "pushed"), (2, "gate_pushed")]
    ended = go_on(served, base_id)
    assert ended.waits_for is None
    assert {row.state for row in ended.rounds} <= {"promoted", "rejected"}
    with open_workspace(served.folder) as ws:
        progress = [
            entry
            for entry in queries.campaigns.progress_of_campaigns(ws.session)
            if entry.campaign.name.startswith("people-")
        ]
    assert len(progress) == 4
    assert all(entry.num_answered == entry.num_assignments for entry in progress)
    assert not any(entry.campaign.simulated for entry in progress)
    before = ended.rounds[-1].new_version_id
    assert go_on(served, base_id).rounds[-1].new_version_id == before


def test_without_a_server_the_loop_says_what_to_start(
    served: Served, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    with open_workspace(served.folder) as ws:
        base = save_version(
            ws, tmp_path / "tiny", generator_name="t2", family="text-to-image", how_made="imported"
        )
        served.server.stop()
        prompt = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="normal")
        looped = run_loop(
            ws,
            LoopConfig(name="nobody", images_per_prompt=2, sampling=CONFIG.sampling),
            rounds=1,
            base=base,
            prompts=[prompt],
            raters=Raters(),
            say=lambda line: None,
        )
    served.restart()
    assert looped.waits_for is not None
    assert "curate rate serve" in looped.waits_for
    assert looped.rounds[0].state == "generated"
