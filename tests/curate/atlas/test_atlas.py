"""The nearest vetted images: near by an independent count, and never one that may not be shown."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from typer.testing import CliRunner

import curate
from cli import app
from curate.atlas.config import SearchOptions
from curate.atlas.found import search_words
from curate.atlas.likeness import ENCODER, Searcher, search
from curate.errors import CurateError
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.samples.formats import decode
from curate.samples.renderings import for_backbones
from curate.workspace import Workspace
from db import queries
from db.models import Image, Release, ReleaseDecision
from rewards.backbones import load_backbone
from tests.curate.campaigns import create_campaign
from tests.curate.conftest import Story
from tests.curate.pictures import BrightnessEyes, add_pictures, picture


def vetted_ids(ws: Workspace) -> set[UUID]:
    return {one.image_id for one in queries.atlas.vetted(ws.session)}


def release(ws: Workspace, kept: Sequence[Image], id_: str = "b" * 64) -> Release:
    [manifest] = queries.files.add_files(ws.session, ws.store, [(id_.encode(), "x")])
    row = Release(id=id_, name=f"release-{id_[0]}", manifest_sha256=manifest)
    decisions = [
        ReleaseDecision(release_id=id_, image_id=one.id, decision="kept", reason="score")
        for one in kept
    ]
    return queries.releases.add_release(ws.session, row, decisions)


def test_synthetic_images_are_shown_once_a_release_kept_them(story: Story) -> None:
    made = [image for image, _ in queries.images.images(story.ws.session)]
    assert vetted_ids(story.ws) == set()
    first = release(story.ws, made[:2])
    assert vetted_ids(story.ws) == {made[0].id, made[1].id}
    queries.archive.set_archived(story.ws.session, "release", first.id, archived=True)
    assert vetted_ids(story.ws) == set()


def test_no_image_of_a_test_patient_is_shown_nor_one_of_equal_pixels(workspace: Workspace) -> None:
    images = add_pictures(workspace, 6)
    images[0].split, images[0].patient = "test", "p0"
    images[1].split, images[1].patient = "train", "p0"  # the same patient, in another split
    images[2].split, images[2].patient = "train", "p2"
    images[3].pixels_sha256 = images[0].pixels_sha256
    workspace.session.add_all(images)
    workspace.session.commit()
    assert vetted_ids(workspace) == {images[place].id for place in (2, 4, 5)}
    found = search(workspace, "finding", SearchOptions(count=50))
    assert {one.image_id for one in found} == {images[place].id for place in (2, 4, 5)}


def test_nothing_made_from_a_held_image_is_shown(story: Story) -> None:
    session = story.ws.session
    [prior] = add_pictures(story.ws, 1, modality="CXR")
    prior.split, prior.patient = "test", "p"
    session.add(prior)
    made = next(
        image for image, _ in queries.images.images(session, version_id=story.versions[0].id)
    )
    release(story.ws, [made])
    assert made.id in vetted_ids(story.ws)
    edited = queries.prompts.NewPrompt(
        modality="CXR", text="worse", conditions={"prior": prior.file_sha256}
    )
    [prompt_id] = queries.prompts.add_prompts(session, [edited])
    made.prompt_id = prompt_id
    session.add(made)
    session.commit()
    assert vetted_ids(story.ws) == set()


def test_an_image_is_hidden_while_a_campaign_asks_about_it(workspace: Workspace) -> None:
    images = add_pictures(workspace, 5)
    searcher, options = Searcher(), SearchOptions(count=50)

    def found() -> set[UUID]:
        return {one.image_id for one in searcher.by_image(workspace, images[4].id, options)}

    assert found() == {one.id for one in images[:4]}  # the searcher has read them all
    campaign = create_campaign(
        workspace, name="open", images=images[:2], raters=simulated_raters(2), overlap=2
    )
    workspace.session.commit()
    assert found() == {images[2].id, images[3].id}
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
    workspace.session.commit()
    assert found() == {one.id for one in images[:4]}
    seen = {one.image_id: one for one in searcher.by_image(workspace, images[4].id, options)}
    assert seen[images[0].id].num_looks == 2 and seen[images[0].id].simulated_ratings
    assert seen[images[2].id].num_looks == 0 and not seen[images[2].id].simulated_ratings


def test_distances_are_cosines_of_standardised_features(workspace: Workspace) -> None:
    images = add_pictures(workspace, 9, sides=(16, 24))
    [asked, *others] = images
    found = Searcher().by_image(workspace, asked.id, SearchOptions(count=50))
    backbone = load_backbone(ENCODER)
    with torch.no_grad():
        features = np.stack(
            [
                backbone.features(for_backbones(decode(workspace.store.get(one.file_sha256)))[None])
                .numpy()[0]
                .astype(float)
                for one in images
            ]
        )
    spread = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(spread < 1e-6, 1, spread)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    expected = dict(zip([one.id for one in others], 1 - standard[1:] @ standard[0], strict=True))
    assert {one.image_id for one in found} == expected.keys()
    for one in found:
        assert one.distance == pytest.approx(expected[one.image_id], abs=2e-3)
    assert [one.distance for one in found] == sorted(one.distance for one in found)


def test_an_image_sent_in_finds_its_like_and_is_not_kept(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = add_pictures(workspace, 8)
    add_pictures(workspace, 2, modality="CXR", first_seed=100)
    known = [path for path in workspace.folder.rglob("*") if "cache" not in path.parts]
    levels = decode(workspace.store.get(images[3].file_sha256)).array[0]
    file = tmp_path / "mine.jpg"
    PillowImage.fromarray(levels).save(file, quality=95)
    [first, *_] = search(workspace, str(file), SearchOptions(count=3))
    assert first.image_id == images[3].id and first.origin == "real"
    only = search(workspace, str(file), SearchOptions(modality="chest X-ray"))
    assert {one.modality for one in only} == {"CXR"} and len(only) == 2
    assert [p for p in workspace.folder.rglob("*") if "cache" not in p.parts] == known
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(CurateError, match=r"text\.png: "):
        search(workspace, str(tmp_path / "text.png"), SearchOptions())


def test_words_that_few_prompts_have_count_more(workspace: Workspace) -> None:
    texts = {"large drusen": "amd", "small drusen": "amd", "large lesion": "x"}
    for number, (text, label) in enumerate(texts.items()):
        [image] = add_pictures(workspace, 1, num_prompts=1, first_seed=10 * number)
        prompt = queries.prompts.get_or_add_prompt(
            workspace.session, modality="OCT", text=text, label=label
        )
        image.prompt_id = prompt.id
        workspace.session.add(image)
    workspace.session.commit()
    found = search_words(workspace, "lesion drusen", modality=None, count=9)
    # prompts: these three and "finding 0"; a word's weight is ln(1 + 5 / (1 + prompts with it))
    lesion, drusen, large = math.log(3.5), math.log(1 + 5 / 3), math.log(1 + 5 / 3)
    oct_, x = math.log(2), math.log(3.5)
    asked = math.hypot(lesion, drusen)
    nearest = 1 - lesion**2 / (asked * math.hypot(large, lesion, oct_, x))
    assert found[0].text == "large lesion" and found[0].distance == pytest.approx(nearest, abs=1e-6)
    assert {one.text for one in found} == set(texts)
    assert [one.text for one in search_words(workspace, "OCT: lesion", modality=None, count=9)] == [
        "large lesion"
    ]
    assert search_words(workspace, "CXR: lesion", modality=None, count=9) == []
    with pytest.raises(CurateError, match="Nothing to search for"):
        search_words(workspace, " ;-) ", modality=None, count=9)


def test_command_and_notebook_find_the_same(story: Story) -> None:
    release(story.ws, [image for image, _ in queries.images.images(story.ws.session)])
    add_pictures(story.ws, 3)
    story.ws.session.commit()
    folder = str(story.ws.folder)
    answer = CliRunner().invoke(app, ["search", "drusen", "--count", "9", "--json", "-w", folder])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    frame = curate.open(folder).search("drusen", count=9)
    assert [one["image_id"] for one in told] == [str(one) for one in frame.image_id]
    assert {one["finding"] for one in told} == {"amd"} and len(told) == 9
    assert all(one["simulated_score"] == (one["score"] is not None) for one in told)
    assert all(one["simulated_ratings"] == (one["num_looks"] > 0) for one in told)
    assert any(one["num_looks"] for one in told)
    plain = CliRunner().invoke(app, ["search", "drusen", "-w", folder])
    assert "research and teaching only" in plain.stderr and "(simulated)" in plain.stdout
    mine = PillowImage.fromarray(picture(0.0, 0))  # the first real picture's own pixels
    near = curate.open(folder).search(mine, count=1)
    assert near.distance.min() == 0
