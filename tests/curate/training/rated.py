"""A closed workspace with a reward model, which `rl-step` can begin from."""

from pathlib import Path

from curate.production.plan import plan_run, settings_hash
from curate.production.run import run_plan
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.scoring.fit import train_reward
from curate.workspace import init_workspace, open_workspace
from db import queries
from rewards.config import RewardConfig
from tests.curate.campaigns import create_campaign
from tests.curate.loop.eyes import RednessEyes
from tests.curate.loop.test_rounds import SAMPLING
from tests.curate.training.test_rl import add_start
from tests.tiny import tiny_generator


def rated_workspace(folder: Path) -> Path:
    """Make it: the tiny generator, its images rated, a reward model fitted."""
    init_workspace(folder)
    with open_workspace(folder) as ws:
        start, prompts = add_start(ws)
        run = plan_run(ws, start, prompts, count=24, settings=SAMPLING)
        run_plan(ws, run, lambda _: None)
        images = queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))
        campaign = create_campaign(ws, name="first", images=images, raters=simulated_raters(3))
        eyes = RednessEyes(tiny_generator(), SAMPLING)
        simulate_campaign(ws, campaign, eyes=eyes, advance=lambda _: None)
        train_reward(ws, RewardConfig(num_parts=2))
    return folder
