"""From ratings to the images worth asking about next, by commands, at a real Label Studio."""

import json
from typing import Any

import pytest
from sqlmodel import select
from typer.testing import CliRunner

import cli
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.workspace import Workspace
from db import queries
from db.models import Assignment
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import QUALITY
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, add_pictures

pytestmark = pytest.mark.slow

NUM_RATED, NUM_CHOSEN = 48, 10


def run(served: Served, *arguments: str) -> Any:
    done = CliRunner().invoke(cli.app, [*arguments, "--json", "--workspace", str(served.folder)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_what_a_fitted_reward_model_would_learn_most_from_is_pushed_with_its_chances(
    ws: Workspace, served: Served
) -> None:
    rated = add_pictures(ws, NUM_RATED, num_prompts=8, first_seed=5_000)
    first = create_campaign(ws, name="simulated", images=rated, raters=simulated_raters(3))
    simulate_campaign(ws, first, eyes=BrightnessEyes(), advance=lambda n: None)
    ws.session.commit()
    model = run(served, "train-reward", "--campaign", "simulated")
    assert run(served, "score", "--origin", "real")["reward_model_id"] == model["id"]
    push = ["rate", "push", "--name", "active", "--select", "active", "--origin", "real"]
    push += ["--images", str(NUM_CHOSEN), "--controls", "0", "--repeats", "0"]
    push += ["--rubric", str(QUALITY)]
    done = run(served, *push)
    assert done["num_new"] == 2 * NUM_CHOSEN
    ws.session.expire_all()
    campaign = queries.campaigns.find_campaign(ws.session, "active")
    assert campaign is not None
    rows = ws.session.exec(select(Assignment).where(Assignment.campaign_id == campaign.id)).all()
    assert {row.selection_method for row in rows} == {"active"}
    chances = {row.image_id: row.inclusion_probability for row in rows}
    assert len(chances) == NUM_CHOSEN and not set(chances) & {image.id for image in rated}
    assert all(0 < chance <= 1 for chance in chances.values())
    assert len(set(chances.values())) > 1  # not all images are worth the same
    assert run(served, *push)["num_new"] == 0  # again: the same draw, nothing new
    ann = served.raters["ann"]
    assert ann.log_in()
    task = ann.next_task(int(done["pages"]["ann"].split("/projects/")[1].split("/")[0]))
    assert task is not None
    ann.rate(task, quality="2")
    (pulled,) = run(served, "rate", "pull", "--campaign", "active")
    assert pulled["taken"]["new"] == 1
