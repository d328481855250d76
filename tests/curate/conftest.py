"""A workspace in which one round has happened: rows, and small real PNG files."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from curate.workspace import Workspace
    from db.models import Campaign, GeneratorVersion, Image, Prompt, RewardModel

SETTINGS = {"num_steps": 2, "guidance": 1.0}
UNRATED_SEEDS = (4, 5)  # the others of the base version are rated


@dataclass
class Story:
    """What the workspace holds; images by (version, prompt place, seed)."""

    ws: "Workspace"
    prompts: "list[Prompt]" = field(default_factory=list)
    versions: "list[GeneratorVersion]" = field(default_factory=list)  # base, then the new one
    images: "dict[tuple[str, int, int], Image]" = field(default_factory=dict)
    campaign: "Campaign | None" = None
    reward_model: "RewardModel | None" = None


def steps() -> list[Callable[[Story], None]]:
    """Return what happens in the story, in order; a workspace is whole after each."""
    return [
        _prompts,
        _base_version,
        lambda told: _images(told, told.versions[0], brightness=0.4),
        _rated,
        _reward_model,
        _new_version,
        lambda told: _images(told, told.versions[1], brightness=0.6),
        _scores,
    ]


@dataclass(frozen=True)
class Written:
    """A story in a closed workspace, and under which ids."""

    folder: Path
    prompts: list[str]
    versions: list[str]
    images: dict[tuple[str, int, int], UUID]
    campaign: UUID
    reward_model: str

    def told_in(self, ws: "Workspace") -> Story:
        """Copy rows and files into an empty workspace that is open."""
        from sqlmodel import select

        from db.models import Campaign, GeneratorVersion, Image, Prompt, RewardModel

        rows = ("curate.db*", "curate.json")
        shutil.copytree(
            self.folder, ws.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*rows)
        )
        with (
            closing(sqlite3.connect(self.folder / "curate.db")) as source,
            closing(sqlite3.connect(ws.folder / "curate.db")) as target,
        ):
            source.backup(target)
        session = ws.session
        images = {image.id: image for image in session.exec(select(Image))}
        told = Story(
            ws,
            prompts=[session.get_one(Prompt, one) for one in self.prompts],
            versions=[session.get_one(GeneratorVersion, one) for one in self.versions],
            images={key: images[one] for key, one in self.images.items()},
            campaign=session.get_one(Campaign, self.campaign),
            reward_model=session.get_one(RewardModel, self.reward_model),
        )
        session.commit()
        return told


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory, _empty_workspace: Path) -> Written:
    """Told once and copied for each test: its rows take longer than most tests."""
    from curate.workspace import open_workspace

    folder = tmp_path_factory.mktemp("story") / "workspace"
    shutil.copytree(_empty_workspace, folder)
    with open_workspace(folder) as ws:
        told = Story(ws)
        for step in steps():
            step(told)
        assert told.campaign is not None and told.reward_model is not None
        ws.session.commit()
        return Written(
            folder,
            prompts=[row.id for row in told.prompts],
            versions=[row.id for row in told.versions],
            images={key: row.id for key, row in told.images.items()},
            campaign=told.campaign.id,
            reward_model=told.reward_model.id,
        )


@pytest.fixture
def story(workspace: "Workspace", _written: Written) -> Story:
    """Two prompts, six seeds, two versions, a simulated campaign, a reward model, a round."""
    return _written.told_in(workspace)


def picture(seed: int, brightness: float) -> NDArray[np.uint8]:
    """A 64 x 64 picture of its own: stripes and a disc, uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:64] / 64
    angle, frequency, phase = random.uniform(0, np.pi), random.uniform(2, 12), random.uniform(0, 6)
    stripes = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    centre, radius = random.uniform(0.25, 0.75, 2), random.uniform(0.1, 0.3)
    disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    grain = random.normal(0, 0.05, (64, 64))
    values = brightness + 0.25 * random.uniform() * stripes + 0.3 * disc + grain
    levels: NDArray[np.uint8] = (255 * values.clip(0, 1)).astype(np.uint8)
    return levels


def _prompts(told: Story) -> None:
    from db import queries

    for modality, text, label in [("OCT", "drusen", "amd"), ("CXR", "clear lungs", "normal")]:
        prompt = queries.prompts.get_or_add_prompt(
            told.ws.session, modality=modality, text=text, label=label
        )
        told.prompts.append(prompt)


def _base_version(told: Story) -> None:
    from db import queries

    [sha] = queries.files.add_files(told.ws.session, told.ws.store, [(b"base", "application/json")])
    told.versions.append(
        queries.versions.add_generator_version(
            told.ws.session,
            generator_name="tiny",
            family="text-to-image",
            files={"model_index.json": sha},
            how_made="imported",
        )
    )


def _images(told: Story, version: "GeneratorVersion", *, brightness: float) -> None:
    from curate.production.environment import environment_row
    from curate.samples.pixels import pixels_hash, png_bytes
    from db import queries
    from db.hashing import json_hash
    from db.models import Image, Run

    session = told.ws.session
    environment_id = queries.runs.get_or_add_environment(
        session, environment_row({"torch": "2.15.0", "device": "cpu"})
    )
    plan: dict[str, Any] = {
        "version_id": version.id,
        "prompt_ids": [prompt.id for prompt in told.prompts],
        "count": 6,
        "first_seed": 0,
        "settings": SETTINGS,
    }
    run = queries.runs.get_or_add_run(session, Run(id=json_hash(plan), num_items=12, **plan))
    for index in range(12):
        place, seed = divmod(index, 6)
        array = picture(1000 * place + seed, brightness)
        [sha] = queries.files.add_files(session, told.ws.store, [(png_bytes(array), "image/png")])
        image = Image(
            file_sha256=sha,
            pixels_sha256=pixels_hash(array),
            origin="synthetic",
            prompt_id=told.prompts[place].id,
            shape=[1, 64, 64],
            version_id=version.id,
            run_id=run.id,
            run_index=index,
            seed=seed,
            settings=SETTINGS,
            settings_hash=json_hash(SETTINGS),
            item_key=json_hash([version.id, told.prompts[place].id, seed, SETTINGS]),
            environment_id=environment_id,
        )
        session.add(image)
        told.images[version.id, place, seed] = image
    session.commit()


def _rated(told: Story) -> None:
    from db import queries
    from db.models import Assignment, Campaign, Rater, Rating

    session = told.ws.session
    rubric, [criterion] = queries.campaigns.default_rubric(session, 1)
    rater = Rater(name="strict simulated rater", simulated=True)
    told.campaign = Campaign(
        name="loop-round-1",
        rubric_id=rubric.id,
        seed=0,
        overlap=1,
        simulated=True,
        backend="simulated",
    )
    session.add_all([rater, told.campaign])
    session.flush()
    shown = [image for image in told.images.values() if image.seed not in UNRATED_SEEDS]
    for position, image in enumerate(shown):
        assignment = Assignment(
            campaign_id=told.campaign.id, rater_id=rater.id, image_id=image.id, position=position
        )
        session.add(assignment)
        session.flush()
        session.add(
            Rating(
                assignment_id=assignment.id,
                criterion_id=criterion.id,
                scale_min=1,
                scale_max=3,
                value=1 + position % 3,
            )
        )
    session.commit()


def _reward_model(told: Story) -> None:
    from db import queries
    from db.hashing import json_hash
    from db.models import RewardModel, RewardModelRating

    session = told.ws.session
    [sha] = queries.files.add_files(
        session, told.ws.store, [(b"heads", "application/x-safetensors")]
    )
    told.reward_model = RewardModel(
        id=json_hash("reward model"),
        backbone="embedded",
        file_sha256=sha,
        simulated=True,
        num_ratings=8,
        metrics={
            "held_out": {
                "num_ratings": 3,
                "auc_top_or_bottom": 0.91,
                "spearman": None,
                "ece": float("inf"),
                "mean_by_value": {"1": 0.2, "3": 0.7},
            },
            "held_out_by": "prompt",
        },
    )
    session.add(told.reward_model)
    session.flush()
    for place, rating in enumerate(queries.ratings.current_ratings(session)):
        use = "held-out" if place % 4 == 0 else "fitted"
        session.add(
            RewardModelRating(
                reward_model_id=told.reward_model.id, rating_id=rating.rating_id, use=use
            )
        )
    session.commit()


def _new_version(told: Story) -> None:
    from db import queries
    from db.models import Round

    assert told.campaign is not None and told.reward_model is not None
    session, [base] = told.ws.session, told.versions
    [sha] = queries.files.add_files(session, told.ws.store, [(b"adapter", "application/json")])
    updates: list[dict[str, Any]] = [
        {
            "update": i,
            "reward_mean": 0.4 + 0.05 * i,
            "squared_change": 0.1 * i,
            "gradient_norm": 1.0,
        }
        for i in range(4)
    ]
    new = queries.versions.add_generator_version(
        session,
        generator_name="tiny",
        family="text-to-image",
        files={"adapter.safetensors": sha},
        how_made="rl-step",
        made_of=queries.versions.MadeOf(
            base.id,
            "lora",
            metrics={"updates": updates},
            reward_model_id=told.reward_model.id,
        ),
    )
    told.versions.append(new)
    session.add(
        Round(
            loop_name="loop",
            number=1,
            state="promoted",
            base_version_id=base.id,
            start_version_id=base.id,
            new_version_id=new.id,
            campaign_id=told.campaign.id,
            reward_model_id=told.reward_model.id,
            reasons=["share of top ratings changed by +10.0 points"],
            metrics=_gate_metrics(),
        )
    )
    session.commit()


def _gate_metrics() -> dict[str, Any]:
    def share(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "num": 40}

    return {
        "share_of_top": {"base": share(0.4), "start": share(0.4), "new": share(0.5)},
        "difference": {"value": 0.1, "low": 0.02, "high": 0.18, "num": 20},
        "num_ratings": 120,
    }


def _scores(told: Story) -> None:
    from db.models import Score

    assert told.reward_model is not None
    base = told.versions[0].id
    for (version_id, place, seed), image in told.images.items():
        mean = 0.2 + 0.1 * seed + 0.05 * place + (0.0 if version_id == base else 0.1)
        told.ws.session.add(
            Score(reward_model_id=told.reward_model.id, image_id=image.id, mean=mean, spread=0.05)
        )
