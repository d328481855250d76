"""A vision-language model answers a campaign's rubric; the model is a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from annotation.agreement.rasch import RaschFit
from annotation.base import RaterProfile
from annotation.errors import AnnotationError
from curate.agreement.figures import EQUAL
from curate.agreement.worth import ratings_worth
from curate.commands.rate_agreement import worth_lines
from curate.errors import CurateError
from curate.loop.config import LoopConfig
from curate.loop.rounds import COUNTED, STEPS, _Pass
from curate.rating.answers import Taken
from curate.rating.config import MachineOptions
from curate.rating.files import export_ratings, import_ratings
from curate.rating.machine import endpoint_of, rate_by_machine
from curate.rating.raters import Raters
from curate.scoring.calibration import ratings_now
from curate.scoring.fit import answers_to_train_on
from curate.workspace import Workspace
from db import queries
from db.errors import StoreError
from db.models import AuditEvent, Campaign, Image, Rater, Rating, Round, Run
from tests.children import curate, started
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import add_pictures, add_pixels
from tests.vision_model import ORDERS, burned_in

SERVER = Path(__file__).parents[2] / "vision_model.py"
PEOPLE = [RaterProfile(name="ann"), RaterProfile(name="ben")]
NUM_MADE, NUM_REAL = 8, 2


@dataclass(frozen=True)
class Served:
    """The model's address, and what it was asked."""

    url: str
    folder: Path

    def asked(self) -> list[dict[str, Any]]:
        file = self.folder / "asked.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "model"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, SERVER, folder],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SERVER.parents[1])},
    )
    assert process.stdout is not None
    yield Served(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", folder)
    process.kill()
    process.wait()
    process.stdout.close()


def made_by_a_generator(ws: Workspace, images: list[Image]) -> list[Image]:
    """Turn images into synthetic ones."""
    [weights] = queries.files.add_files(ws.session, ws.store, [(b"w", "application/x-weights")])
    version = queries.versions.add_generator_version(
        ws.session, generator_name="g", family="f", files={"unet": weights}, how_made="x"
    )
    ws.session.flush()
    run = Run(
        id="e" * 64,
        version_id=version.id,
        prompt_ids=[images[0].prompt_id],
        count=len(images),
        first_seed=0,
        num_items=len(images),
        settings={},
    )
    ws.session.add(run)
    ws.session.flush()
    for number, image in enumerate(images):
        image.origin, image.version_id, image.run_id = "synthetic", version.id, run.id
        image.run_index, image.seed, image.item_key = number, number, f"item {number}"
        image.source_path = None
    ws.session.commit()
    return images


@pytest.fixture
def first(workspace: Workspace) -> Campaign:
    """Two people on eight synthetic images and two real controls; ann has answered all with 3."""
    made = made_by_a_generator(workspace, add_pictures(workspace, NUM_MADE))
    return asked_of_people(workspace, made, add_pictures(workspace, NUM_REAL, first_seed=50))


def asked_of_people(ws: Workspace, made: list[Image], real: list[Image]) -> Campaign:
    campaign = create_campaign(
        ws, name="first", images=made, controls=real, raters=PEOPLE, backend="label-studio"
    )
    [criterion] = queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
    views = queries.campaigns.assignments(ws.session, campaign.id)
    for place, view in enumerate(views):
        rating = Rating(
            assignment_id=view.id,
            criterion_id=criterion.id,
            scale_min=1,
            scale_max=3,
            value=3 if view.rater == "ann" else 1 + place % 3,
        )
        ws.session.add(rating)
    ws.session.commit()
    return campaign


def options(served: Served, model: str = "bright", **more: object) -> MachineOptions:
    given = {"url": served.url, "model": model, "repeat_fraction": 0.0, **more}
    return MachineOptions(**given)  # type: ignore[arg-type]


def test_a_machine_answers_the_rubric_and_what_it_took_is_kept(
    workspace: Workspace, first: Campaign, served: Served
) -> None:
    given = options(served, key="secret", prompt_price=2.0, reply_price=10.0)
    done = rate_by_machine(workspace, "first", given)
    num = NUM_MADE + NUM_REAL
    assert (done.taken, done.num_kept_back) == (Taken(new=num), 0)
    assert done.tokens == num * 1010 and done.cost == pytest.approx(num * 0.0021)
    assert "(a machine)" in done.lines()[0]
    campaign = queries.campaigns.find_campaign(workspace.session, "first-machine:bright")
    assert campaign is not None and campaign.simulated and campaign.backend == "machine"
    # the rule's own grades: brightness n * 0.618 mod 1 with ends at 0.35 and 0.65
    views = queries.ratings.current_ratings(workspace.session, campaign_id=campaign.id)
    by_image = {view.image_id: view.value for view in views}
    made = queries.images.images(workspace.session, origin="synthetic")
    levels = {image.id: (image.seed or 0) * 0.618 % 1 for image, _ in made}
    assert len(levels) == NUM_MADE
    for image_id, level in levels.items():
        assert by_image[image_id] == 1 + (level > 0.35) + (level > 0.65)
    asked = served.asked()
    assert (
        len({line["system"] for line in asked}) == 1
        and "Does the image show" in (asked[0]["system"])
    )
    assert {line["token"] for line in asked} == {"Bearer secret"}
    assert {line["chunks"] for line in asked} == {0}  # nothing but pixels
    query = select(AuditEvent).where(AuditEvent.command == "rate machine reply")
    details = [event.details for event in workspace.session.exec(query)]
    assert len(details) == num
    assert {len(one["reply_sha256"]) for one in details} == {64}
    assert campaign.config["prompt"] == asked[0]["system"]
    assert "secret" not in str([*details, campaign.config, done.to_json()])
    again = rate_by_machine(workspace, "first", given)
    assert again.taken == Taken() and len(served.asked()) == num
    assert again.cost == done.cost


def test_it_is_measured_beside_people_and_counts_nowhere_else(
    workspace: Workspace, first: Campaign, served: Served, tmp_path: Path
) -> None:
    session = workspace.session
    before = queries.ratings.current_ratings(session)
    learned = answers_to_train_on(workspace, enough=1)
    alone = ratings_worth(workspace, "first")
    rate_by_machine(workspace, "first", options(served))
    assert queries.ratings.current_ratings(session) == before
    assert answers_to_train_on(workspace, enough=1) == learned
    people, machine = ratings_worth(workspace, "first")
    assert [people] == alone and not people.machine and machine.machine
    [quality] = machine.criteria
    assert {(pair.rater, pair.other) for pair in quality.between} == {
        ("ann", "machine:bright"),
        ("ben", "machine:bright"),
    }
    assert quality.figure(EQUAL).estimate is not None
    assert isinstance(quality.severity, RaschFit)
    assert {one.rater for one in quality.severity.raters} == {"ben", "machine:bright"}
    lines = "\n".join(worth_lines([people, machine]))
    assert "machine:bright  a machine" in lines and "by 1 machines on" in lines
    # by name it does count, as simulated
    by_name = answers_to_train_on(workspace, raters=["machine:bright"], enough=1)
    assert by_name.simulated and by_name.raters == {"machine:bright"}
    # what leaves in a file comes back as a machine's
    assert export_ratings(workspace, tmp_path / "all.csv") == len(before) + NUM_MADE + NUM_REAL
    import_ratings(workspace, tmp_path / "all.csv", campaign="back")
    rows = queries.ratings.current_ratings(session)
    assert not any(view.rater.startswith("machine:") for view in rows)
    with pytest.raises(StoreError, match="machine's name"):
        queries.campaigns.get_or_add_rater(
            session, name="machine:ann", expert_level=3, simulated=False, config={}
        )


def test_in_a_draw_and_a_gate_it_is_a_rater_only_where_it_is_named(
    workspace: Workspace, first: Campaign, served: Served
) -> None:
    session, names = workspace.session, ["machine:bright"]
    with pytest.raises(StoreError, match=r"No machine 'machine:bright' has rated .*have: none"):
        queries.ratings.require_rated(session, first.id, names)
    rate_by_machine(workspace, "first", options(served))
    views = queries.ratings.ratings_of_machines(session, first.id, names)
    assert {view.rater for view in views} == {*names}
    assert len(views) == NUM_MADE and all(view.origin == "synthetic" for view in views)
    with pytest.raises(StoreError, match="have: machine:bright"):
        queries.ratings.require_rated(session, first.id, ["machine:bright", "machine:dark"])
    # people were asked for no draw and no gate: all that is known of both is the machine's
    alone, _ = ratings_now(workspace, first, {"quality": 3})
    named, _ = ratings_now(workspace, first, {"quality": 3}, names)
    assert alone == {} and named == {view.image_id: view.value == 3 for view in views}
    version = views[0].version_id or ""
    row = Round(
        loop_name="x",
        number=1,
        state="gate_rated",
        base_version_id=version,
        start_version_id=version,
        new_version_id=version,
        gate_campaign_id=first.id,
    )
    decide = _Pass(workspace, LoopConfig(), row, [], Raters(), print)
    with pytest.raises(ValueError, match="no prompt rated in both"):
        STEPS["gate_rated"](decide)
    row.metrics = {COUNTED: names}
    decided = STEPS["gate_rated"](decide)
    assert isinstance(decided, dict) and decided["metrics"]["num_ratings"] == NUM_MADE
    assert "counted among the raters: machine:bright" in decided["reasons"]


@pytest.mark.parametrize("words", ORDERS)
def test_words_burned_into_an_image_change_no_question_and_no_scale(
    workspace: Workspace, served: Served, words: str
) -> None:
    pictures = [burned_in(words), burned_in("a caliper"), burned_in("L")]
    made = made_by_a_generator(workspace, add_pixels(workspace, pictures))
    asked_of_people(workspace, made, [])
    done = rate_by_machine(workspace, "first", options(served, "obedient"))
    assert (done.taken.new, done.taken.quarantined) == (2, 1)
    assert len({line["system"] for line in served.asked()}) == 1
    campaign = queries.campaigns.find_campaign(workspace.session, done.campaign)
    assert campaign is not None
    [refused] = queries.ratings.quarantined(workspace.session, campaign.id)
    assert json.loads(refused.content["reply"]) == ORDERS[words]
    views = queries.ratings.current_ratings(workspace.session, campaign_id=campaign.id)
    assert {(view.criterion, view.value) for view in views} == {("quality", 1)}
    assert made[0].id not in {view.image_id for view in views}


def test_prose_goes_into_quarantine_and_is_asked_again_only_on_request(
    workspace: Workspace, first: Campaign, served: Served
) -> None:
    num = NUM_MADE + NUM_REAL
    done = rate_by_machine(workspace, "first", options(served, "babbles"))
    assert done.taken == Taken(quarantined=num)
    rate_by_machine(workspace, "first", options(served, "babbles"))
    assert len(served.asked()) == num
    # nobody waits for it: what people said of these images is no secret for its sake
    row = queries.campaigns.find_campaign(workspace.session, done.campaign)
    assert row is not None and not queries.ratings.is_open(workspace.session, row.id)
    assert row.id not in queries.atlas.campaigns_that_wait(workspace.session)
    by_name = queries.campaigns.progress_of_campaigns(workspace.session)
    assert [one.campaign.name for one in by_name if one.is_waited_for] == []
    rate_by_machine(workspace, "first", options(served, "babbles", again=True))
    assert len(served.asked()) == 2 * num


@pytest.mark.parametrize("model", ["busy", "slow"])
def test_a_busy_or_slow_server_is_asked_again_and_each_task_counts_once(
    workspace: Workspace, first: Campaign, served: Served, model: str
) -> None:
    done = rate_by_machine(workspace, "first", options(served, model, timeout_s=0.5))
    num = NUM_MADE + NUM_REAL
    assert done.taken == Taken(new=num)
    tries = Counter(line["key"] for line in served.asked())
    assert len(tries) == num and set(tries.values()) == {1, 2}


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_asks_nothing_twice(
    workspace: Workspace, first: Campaign, served: Served
) -> None:
    (served.folder / "hang").touch()
    workspace.session.commit()
    order = ["rate", "machine", "first", "--url", served.url, "--model", "hangs", "--repeats", "0"]
    child = started(curate, order, workspace.folder)
    while not (served.folder / "hangs").exists() and child.is_alive():
        time.sleep(0.05)  # until it waits for the fourth reply
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    campaign = queries.campaigns.find_campaign(workspace.session, "first-machine:hangs")
    assert campaign is not None
    views = queries.ratings.current_ratings(workspace.session, campaign_id=campaign.id)
    assert len(views) == 3
    (served.folder / "hang").unlink()
    done = rate_by_machine(workspace, "first", options(served, "hangs"))
    num = NUM_MADE + NUM_REAL
    assert done.taken == Taken(new=num - 3)
    tries = Counter(line["key"] for line in served.asked())
    # the one that nobody heard is asked again; no other is
    assert len(tries) == num and sorted(tries.values()) == [1] * (num - 1) + [2]


def test_pixels_leave_this_machine_only_when_told_so_and_real_ones_only_by_a_second_word(
    workspace: Workspace, first: Campaign, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = MachineOptions(url="https://models.example.org/v1", model="m")
    with pytest.raises(CurateError, match="--images-may-leave"):
        rate_by_machine(workspace, "first", far)
    assert queries.campaigns.find_campaign(workspace.session, "first-machine:m") is None
    for url in ("http://127.0.0.1.example.org/v1", "http://localhost.example.org", "file:///v1"):
        with pytest.raises(CurateError):
            endpoint_of(MachineOptions(url=url, model="m"))
    # an address that is taken for another machine's, though tests reach none
    monkeypatch.setattr("annotation.endpoint.Endpoint.is_local", False)
    monkeypatch.setenv("NO_PROXY", "*")
    done = rate_by_machine(workspace, "first", options(served, images_may_leave=True))
    assert (done.taken.new, done.num_kept_back) == (NUM_MADE, NUM_REAL)
    assert "--real-images-may-leave" in "\n".join(done.lines())
    rest = options(served, images_may_leave=True, real_images_may_leave=True)
    assert rate_by_machine(workspace, "first", rest).taken.new == NUM_REAL


def test_a_redirect_is_not_followed(workspace: Workspace, first: Campaign, served: Served) -> None:
    with pytest.raises(AnnotationError, match="status 307"):
        rate_by_machine(workspace, "first", options(served, "elsewhere"))
    assert workspace.session.exec(select(Rater).where(Rater.name == "machine:elsewhere")).one()
