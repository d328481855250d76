import datetime as dt
import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlmodel import select

from db import queries
from db.engine import Session
from db.errors import StoreError
from db.hashing import json_hash
from db.models import (
    Assignment,
    AuditEvent,
    File,
    GeneratorVersion,
    Image,
    Prompt,
    PromptCondition,
    Rating,
    Round,
)
from db.queries.prompts import NewPrompt
from db.queries.versions import MadeOf
from db.store import open_store
from tests.db.rows import insert, sha, valid_rows


@pytest.fixture
def rows(session: Session) -> dict[str, dict[str, Any]]:
    """One row of every table, inserted."""
    known = valid_rows()
    for name, row in known.items():
        insert(session, name, row)
    return known


def add_version(session: Session, files: dict[str, str], **changes: Any) -> GeneratorVersion:
    values: dict[str, Any] = {"generator_name": "g", "family": "text-to-image", "how_made": "x"}
    return queries.versions.add_generator_version(session, files=files, **(values | changes))


def add_file(session: Session, digit: str) -> str:
    session.add(File(sha256=sha(digit), num_bytes=1, media_type="x"))
    session.flush()
    return sha(digit)


def test_json_has_one_hash_whatever_the_order_of_its_keys() -> None:
    expected = hashlib.sha256('{"a":"é","b":[1,2]}'.encode()).hexdigest()
    assert json_hash({"b": [1, 2], "a": "é"}) == expected


def test_files_are_kept_before_their_rows_and_known_ones_passed_over(
    session: Session, folder: Path
) -> None:
    store = open_store(folder)
    first = queries.files.add_files(session, store, [(b"a", "text/plain"), (b"a", "text/plain")])
    both = queries.files.add_files(session, store, [(b"a", "text/plain"), (b"bb", "image/png")])
    assert first == [hashlib.sha256(b"a").hexdigest()] * 2
    files = {file.sha256: file for file in session.exec(select(File))}
    assert files.keys() == set(both) == set(store.list())
    assert files[both[1]].num_bytes == 2
    assert files[both[1]].media_type == "image/png"
    assert queries.files.add_files(session, store, []) == []


def test_the_same_prompt_is_one_row_with_its_condition_images(session: Session) -> None:
    mask = add_file(session, "a")
    first = queries.prompts.get_or_add_prompt(
        session, modality="OCT", text="drusen", record={"age": 7}, conditions={"mask": mask}
    )
    again = queries.prompts.get_or_add_prompt(
        session, modality="OCT", text="drusen", record={"age": 7}, conditions={"mask": mask}
    )
    assert first is again
    assert first.record == {"age": 7}
    assert [row.role for row in session.exec(select(PromptCondition))] == ["mask"]


def test_many_prompts_are_added_at_once_with_records_and_condition_images(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    prior = rows["image"]["id"]
    asked = [
        NewPrompt(modality="CXR", text=f"patient {number}", record={"age": number})
        for number in range(2000)
    ]
    follow_up = NewPrompt(
        modality="CXR",
        text="larger",
        conditions={"prior": sha("a"), "sketch": sha("a")},
        images={"prior": prior},
    )
    before = queries.audit.counts(session)["prompts"]
    ids = queries.prompts.add_prompts(session, [*asked, follow_up, follow_up])
    assert queries.prompts.add_prompts(session, [follow_up]) == [ids[-1]] == [ids[-2]]
    assert queries.audit.counts(session)["prompts"] == before + 2001
    assert queries.prompts.prompts_by_id(session, ids)[ids[7]].record == {"age": 7}
    assert queries.prompts.conditions_of(session, ids) == {
        ids[-1]: {"prior": sha("a"), "sketch": sha("a")}
    }
    kept = session.get_one(PromptCondition, (ids[-1], "prior"))
    assert kept.image_id == prior


def test_a_condition_is_traced_to_its_patient_by_its_image_or_by_its_file(session: Session) -> None:
    prompt = queries.prompts.get_or_add_prompt(session, modality="CXR", text="normal")
    files = [add_file(session, digit) for digit in "ab"]
    images = [
        Image(
            file_sha256=file,
            pixels_sha256=file,
            origin="real",
            prompt_id=prompt.id,
            shape=[1, 8, 8],
            patient=patient,
        )
        for file, patient in zip(files, ("p1", "p2"), strict=True)
    ]
    session.add_all(images)
    session.flush()
    other = add_file(session, "c")  # the first image's pixels in another file
    by_image = NewPrompt(
        modality="CXR", text="x", conditions={"prior": other}, images={"prior": images[0].id}
    )
    by_file = NewPrompt(modality="CXR", text="x", conditions={"prior": files[1]})
    ids = queries.prompts.add_prompts(session, [by_image, by_file])
    assert queries.prompts.patients_behind(session, [*ids, prompt.id]) == {
        ids[0]: {"p1"},
        ids[1]: {"p2"},
        prompt.id: set(),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"modality": "CXR"},
        {"text": "normal"},
        {"label": "amd"},
        {"record": {"age": 8}},
        {"conditions": {"prior": sha("a")}},
    ],
)
def test_a_prompt_that_says_something_else_has_another_hash(change: dict[str, Any]) -> None:
    prompt: dict[str, Any] = {"modality": "OCT", "text": "drusen"}
    assert queries.prompts.prompt_hash(**prompt) != queries.prompts.prompt_hash(**(prompt | change))


def test_a_version_is_its_files_and_the_same_files_are_the_same_version(session: Session) -> None:
    unet, codec = add_file(session, "a"), add_file(session, "b")
    version = add_version(session, {"unet": unet, "codec": codec})
    assert add_version(session, {"codec": codec, "unet": unet}) is version
    assert version.id == queries.versions.tree_hash({"unet": unet, "codec": codec})
    assert queries.versions.version_files(session, version.id) == {"codec": codec, "unet": unet}
    assert queries.versions.family_of(session, version) == "text-to-image"


def test_an_adapter_on_another_parent_is_another_version(session: Session) -> None:
    first = add_version(session, {"unet": add_file(session, "a")})
    second = add_version(session, {"unet": add_file(session, "b")})
    adapter = {"lora": add_file(session, "c")}
    on_first = add_version(session, adapter, made_of=MadeOf(first.id, "lora"))
    on_second = add_version(session, adapter, made_of=MadeOf(second.id, "lora"))
    assert on_first.id != on_second.id
    assert queries.versions.version_files(session, on_first.id) == adapter


def test_a_generator_keeps_its_family(session: Session) -> None:
    add_version(session, {"unet": add_file(session, "a")})
    with pytest.raises(StoreError, match="family 'text-to-image'.*'clinical'.*another name"):
        add_version(session, {"unet": add_file(session, "b")}, family="clinical")


def test_a_version_is_found_by_the_first_digits_of_its_id(session: Session) -> None:
    version = add_version(session, {"unet": add_file(session, "a")})
    assert queries.versions.find_version(session, version.id[:6]) is version
    assert queries.versions.find_version(session, version.id) is version
    assert queries.versions.find_version(session, "latest") is version


def test_a_version_that_is_not_there_is_answered_with_those_that_are(session: Session) -> None:
    with pytest.raises(StoreError, match="'latest'. Known, newest first: none"):
        queries.versions.find_version(session, "latest")
    version = add_version(session, {"unet": add_file(session, "a")})
    for wrong in ("", "%", "newest", version.id + "0"):
        with pytest.raises(StoreError, match=rf"Known, newest first: {version.id[:12]} \(g\)"):
            queries.versions.find_version(session, wrong)


def test_digits_that_two_versions_begin_with_are_not_enough(session: Session) -> None:
    for digit in "0123456789abcdef":  # more than 16 first digits: two ids share one
        add_version(session, {"unet": add_file(session, digit)})
    add_version(session, {"codec": sha("0")})
    ids = [version.id[0] for version in session.exec(select(GeneratorVersion))]
    shared = max(ids, key=ids.count)
    with pytest.raises(StoreError, match=f"generator versions begin with '{shared}'.*more digits"):
        queries.versions.find_version(session, shared)


def test_the_latest_version_is_none_that_a_round_has_not_promoted(session: Session) -> None:
    base = add_version(session, {"unet": add_file(session, "a")})
    new = add_version(session, {"unet": add_file(session, "b")}, made_of=MadeOf(base.id))
    round = Round(
        loop_name="l",
        number=1,
        state="gate_rated",
        base_version_id=base.id,
        start_version_id=base.id,
        new_version_id=new.id,
    )
    session.add(round)
    session.commit()
    assert queries.versions.latest_version(session) is base
    queries.rounds.advance_round(session, round, "promoted")
    assert queries.versions.latest_version(session) is new


def test_images_are_found_by_what_they_are(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    real = Image(
        file_sha256=sha("a"),
        pixels_sha256=sha("1"),
        origin="real",
        prompt_id=queries.prompts.get_or_add_prompt(session, modality="CXR", text="normal").id,
        shape=[1, 8, 8],
        split="val",
    )
    session.add(real)
    session.flush()

    def found(**wanted: Any) -> list[tuple[str, str]]:
        pairs = queries.images.images(session, **wanted)
        return [(image.origin, prompt.modality) for image, prompt in pairs]

    synthetic = ("synthetic", "OCT")
    assert found() == [synthetic, ("real", "CXR")]
    assert found(limit=1) == [synthetic]
    assert found(origin="real") == found(modality="CXR") == found(split="val") == [("real", "CXR")]
    assert found(version_id=sha("d")) == found(run_id=sha("e")) == [synthetic]
    assert found(modality="CXR", origin="synthetic") == []


def test_seeds_done_are_those_of_the_item_from_low_to_high_both_included(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    item = {"version_id": sha("d"), "prompt_id": sha("c"), "settings_hash": sha("5")}
    for seed in (1, 2, 3, 5):
        image = rows["image"] | item | {"id": uuid4(), "seed": seed, "item_key": str(seed)}
        session.add(Image(**image))
    session.flush()
    assert queries.runs.seeds_done(session, **item, low=2, high=5) == {2, 3, 5}
    assert queries.runs.seeds_done(session, **item, low=2, high=4) == {2, 3}
    other = item | {"settings_hash": sha("6")}
    assert queries.runs.seeds_done(session, **other, low=0, high=9) == set()


def rate(
    session: Session, rows: dict[str, dict[str, Any]], revision: int, value: int | None
) -> None:
    row = rows["rating"] | {"id": uuid4(), "revision": revision, "value": value}
    session.add(Rating(**row))
    session.flush()


def test_a_changed_mind_counts_and_a_withdrawn_answer_does_not(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    (first,) = queries.ratings.current_ratings(session)
    assert (first.value, first.rater, first.criterion) == (2, "ann", "quality")
    assert (first.text, first.version_id, first.origin) == ("drusen", sha("d"), "synthetic")
    rate(session, rows, 2, 3)
    assert [view.value for view in queries.ratings.current_ratings(session)] == [3]
    assert queries.audit.counts(session)["ratings"] == 1
    rate(session, rows, 3, None)
    assert queries.ratings.current_ratings(session) == []
    assert queries.audit.counts(session)["ratings"] == 0


def test_ratings_are_chosen_by_campaign_and_purpose(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    gate = Assignment(**(rows["assignment"] | {"id": uuid4(), "position": 1, "purpose": "gate"}))
    session.add(gate)
    session.flush()
    session.add(Rating(**(rows["rating"] | {"id": uuid4(), "assignment_id": gate.id})))
    session.flush()
    campaign = rows["campaign"]["id"]
    assert len(queries.ratings.current_ratings(session, campaign_id=campaign)) == 2
    assert queries.ratings.current_ratings(session, campaign_id=uuid4()) == []
    (view,) = queries.ratings.current_ratings(session, purposes=["gate", "repeat"])
    assert view.purpose == "gate"


def test_the_default_rubric_is_minims_and_there_is_one(session: Session) -> None:
    rubric, (criterion,) = queries.campaigns.default_rubric(session, 1)
    assert queries.campaigns.default_rubric(session, 1)[0].id == rubric.id
    assert (criterion.min_value, criterion.max_value, criterion.polarity) == (1, 3, "higher")


def test_version_2_asks_on_its_own_what_version_1_took_together(session: Session) -> None:
    newest, criteria = queries.campaigns.default_rubric(session)
    assert (newest.name, newest.version) == ("minim", 2)
    assert [c.name for c in criteria] == ["looks-real", "shows-asked"]
    assert {(c.min_value, c.max_value) for c in criteria} == {(1, 3)}
    assert queries.campaigns.default_rubric(session)[0].id == newest.id
    first, (quality,) = queries.campaigns.default_rubric(session, 1)
    assert first.id != newest.id and quality.wording["3"].startswith("Shows what was asked")


@pytest.fixture
def round(session: Session, rows: dict[str, dict[str, Any]]) -> Round:
    """A planned round."""
    return session.get_one(Round, rows["round"]["id"])


def test_a_round_goes_through_its_states_to_promoted(session: Session, round: Round) -> None:
    states = ["generated", "pushed", "rated", "trained", "stepped", "gate_pushed", "gate_rated"]
    for state in states:
        queries.rounds.advance_round(session, round, state)
        assert round.state == state
    queries.rounds.advance_round(
        session, round, "promoted", new_version_id=sha("d"), metrics={"kept": 1}, reasons=["better"]
    )
    assert (round.state, round.metrics, round.reasons) == ("promoted", {"kept": 1}, ["better"])
    assert round.updated_at > round.created_at


@pytest.mark.parametrize("state", ["planned", "pushed", "promoted", "done"])
def test_a_round_takes_no_step_that_does_not_follow(
    session: Session, round: Round, state: str
) -> None:
    with pytest.raises(ValueError, match=f"planned cannot become {state}"):
        queries.rounds.advance_round(session, round, state)


def test_a_round_that_has_ended_stays_so(session: Session, round: Round) -> None:
    queries.rounds.advance_round(session, round, "rejected", reasons=["no images"])
    for state in ("generated", "promoted", "rejected"):
        with pytest.raises(ValueError, match="rejected cannot become"):
            queries.rounds.advance_round(session, round, state)


def test_a_field_that_a_round_has_not_is_refused(session: Session, round: Round) -> None:
    with pytest.raises(ValueError, match="no colour"):
        queries.rounds.advance_round(session, round, "generated", colour="red")


def test_of_two_processes_one_moves_a_round_on(two_sessions: tuple[Session, Session]) -> None:
    first, second = two_sessions
    version = add_version(first, {"unet": add_file(first, "a")})
    mine = Round(loop_name="l", number=1, base_version_id=version.id, start_version_id=version.id)
    first.add(mine)
    first.commit()
    theirs = second.get_one(Round, mine.id)
    second.commit()
    queries.rounds.advance_round(first, mine, "generated")
    with pytest.raises(StoreError, match="Round 1 of loop 'l' was moved on by another process"):
        queries.rounds.advance_round(second, theirs, "generated")


def test_of_two_processes_both_add_the_same_prompt(two_sessions: tuple[Session, Session]) -> None:
    first, second = two_sessions
    for session in (first, second):
        assert session.exec(select(Prompt)).all() == []
    ids = []
    for session in (first, second):
        ids.append(queries.prompts.get_or_add_prompt(session, modality="OCT", text="drusen").id)
        session.commit()
    assert ids[0] == ids[1]


def test_counts_are_of_every_kind(session: Session, rows: dict[str, dict[str, Any]]) -> None:
    assert queries.audit.counts(session) == {
        "real_images": 0,
        "synthetic_images": 1,
        "ratings": 1,
        "prompts": 1,
        "generator_versions": 1,
        "campaigns": 1,
        "comparisons": 1,
        "reward_models": 1,
        "scores": 1,
        "rounds": 1,
        "releases": 1,
    }


def test_the_audit_trail_says_who_did_what(session: Session) -> None:
    queries.audit.record_event(session, "generate", {"made": 7})
    (event,) = session.exec(select(AuditEvent)).all()
    assert (event.command, event.details) == ("generate", {"made": 7})
    assert event.actor


def told(session: Session) -> list[dict[str, Any]]:
    return queries.audit.details_of(session, "generate")


def test_how_things_stand_is_said_once_until_they_change(session: Session) -> None:
    first, whole = ({"run": "r", "images": count, "broken": 0} for count in (3, 5))
    for images in (3, 3, 5, 5):
        found = {"images": images, "broken": 0}
        queries.audit.record_result(session, "generate", {"run": "r"}, found)
    assert told(session) == [first, whole]
    queries.audit.record_result(session, "generate", {"run": "other"}, {"images": 5, "broken": 0})
    queries.audit.record_result(session, "generate", {"run": "r"}, {"images": 5, "broken": 0})
    assert len(told(session)) == 3  # another run's line is no reason to say it again
    queries.audit.record_result(session, "generate", {"run": "r"}, {"images": 3, "broken": 0})
    assert told(session).count(first) == 2  # back where it was: something happened


def test_what_was_deleted_and_is_made_again_is_said_again(session: Session) -> None:
    for _ in range(2):
        queries.audit.record_result(session, "generate", {"run": "r"}, {"images": 3})
    queries.audit.record_event(session, "prune", {"things": ["run r"]})
    queries.audit.record_result(session, "generate", {"run": "r"}, {"images": 3})
    assert told(session) == [{"run": "r", "images": 3}] * 2


def test_times_are_utc_and_a_time_without_a_zone_is_refused(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    session.expire_all()
    rating = session.exec(select(Rating)).one()
    assert rating.rated_at.utcoffset() == dt.timedelta(0)
    with pytest.raises(sa.exc.StatementError, match="a time without a zone"):
        rate(
            session, rows | {"rating": rows["rating"] | {"rated_at": dt.datetime(2026, 1, 1)}}, 2, 1
        )
