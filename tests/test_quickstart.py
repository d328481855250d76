"""The whole circle on the embedded generator, as `curate quickstart` runs it, only smaller."""

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from curate.demos.circle import Circle, run_circle
from curate.demos.text_to_image import begin
from curate.doctor import examine
from curate.loop.config import CircleConfig, quickstart_config
from curate.release.remake import images_made_again
from curate.release.verify import verify_release
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.embedded import WEIGHTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (WEIGHTS / "unet").exists(), reason="the embedded weights are not in this checkout"
    ),
]


def small() -> CircleConfig:
    full = quickstart_config(rounds=1)
    loop = full.loop
    return replace(
        full,
        release_images_per_prompt=2,
        judge_images_per_prompt=1,
        loop=replace(
            loop,
            images_per_prompt=8,
            gate_images_per_prompt=1,
            sampling=replace(loop.sampling, num_steps=4, batch_size=8),  # whole batches are made
            rl=replace(
                loop.rl,
                num_updates=1,
                prompts_per_update=4,
                group_size=2,
                branches=2,
                num_steps=4,
                window_start=1,
                rollout_batch=8,  # as many as there are: whole batches are made here too
            ),
        ),
    )


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Circle]:
    folder = tmp_path_factory.mktemp("quickstart")
    init_workspace(folder)
    with open_workspace(folder) as ws:
        begun = begin(ws, print)
        few = replace(begun, prompts=list({p.modality: p for p in begun.prompts}.values()))
        return folder, run_circle(ws, small(), few, say=print)


@pytest.fixture
def ws(circle: tuple[Path, Circle]) -> Iterator[Workspace]:
    with open_workspace(circle[0]) as opened:
        yield opened


def test_a_round_ends_with_a_new_version_and_a_verdict(
    circle: tuple[Path, Circle], ws: Workspace
) -> None:
    (row,) = circle[1].rounds
    assert row.state in ("promoted", "rejected")
    assert (
        queries.versions.find_version(ws.session, row.new_version_id or "").parent_id
        == circle[1].base_id
    )
    counts = queries.audit.counts(ws.session)
    assert counts["rounds"] == counts["releases"] == 1
    assert counts["reward_models"] == 1
    assert counts["ratings"] > 0
    assert examine(ws).is_whole


def test_simulated_ratings_are_called_simulated_wherever_they_show(
    circle: tuple[Path, Circle], ws: Workspace
) -> None:
    result = circle[1]
    assert "simulated" in result.table()[0]
    assert result.to_json()["ratings"] == "simulated"
    assert all(rating.simulated for rating in queries.ratings.current_ratings(ws.session))
    assert "simulated" in result.report.read_text(encoding="utf-8")
    assert "simulated" in (result.exported.folder / "README.md").read_text(encoding="utf-8")


def test_the_release_proves_itself_and_its_images_are_made_again_bit_for_bit(
    circle: tuple[Path, Circle], ws: Workspace
) -> None:
    folder = circle[1].exported.folder
    proof = verify_release(
        folder, session=ws.session, make_again=lambda images: images_made_again(ws, images)
    )
    assert proof.ok
    assert proof.made_again is not None
    assert proof.made_again.proved == "bit-identical"
    assert proof.made_again.num_images > 0


def test_from_an_exported_image_one_walks_back_to_the_ratings(
    circle: tuple[Path, Circle], ws: Workspace
) -> None:
    folder = circle[1].exported.folder
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    image = manifest["images"][0]
    assert hashlib.sha256((folder / image["path"]).read_bytes()).hexdigest() == image["sha256"]
    version = queries.versions.find_version(ws.session, image["version_id"])
    made_by = version.reward_model_id or image["reward_model_id"]
    with (folder / "data.csv").open(newline="", encoding="utf-8") as file:
        assert {"path", "Text", "modality"} <= set(next(csv.DictReader(file)))
    assert image["prompt_id"] in manifest["prompts"]
    assert image["version_id"] in manifest["versions"]
    assert manifest["reward_models"][made_by]["num_ratings"] > 0
    assert all(campaign["simulated_raters"] for campaign in manifest["campaigns"].values())
