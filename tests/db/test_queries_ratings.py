"""What rating, reward models and scores ask of the database, on SQLite and PostgreSQL."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import queries
from db.engine import Session
from db.errors import StoreError
from db.models import (
    Assignment,
    Campaign,
    Image,
    Prompt,
    Rater,
    Rating,
    Release,
    ReleaseDecision,
    RewardModel,
    Standing,
)
from db.queries.gallery import Filter
from tests.db.rows import MOMENT, insert, sha, valid_rows

Rows = dict[str, dict[str, Any]]
EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}


@pytest.fixture
def rows(session: Session) -> Rows:
    """One row of every table, inserted: one campaign, one rating, one score."""
    known = valid_rows()
    for name, row in known.items():
        insert(session, name, row)
    return known


def add_image(session: Session, modality_of: str = sha("c")) -> Image:
    image = Image(
        file_sha256=sha("a"),
        pixels_sha256=sha("b"),
        origin="real",
        prompt_id=modality_of,
        shape=[1, 8, 8],
        source_path="x.png",
    )
    session.add(image)
    session.flush()
    return image


def revision(rows: Rows, value: int | None, number: int) -> Rating:
    return Rating(
        assignment_id=rows["assignment"]["id"],
        criterion_id=rows["criterion"]["id"],
        scale_min=1,
        scale_max=3,
        value=value,
        revision=number,
    )


def test_an_assignment_shows_what_its_rater_looks_at(session: Session, rows: Rows) -> None:
    campaign_id = rows["campaign"]["id"]
    (view,) = queries.campaigns.assignments(session, campaign_id)
    assert (view.rater, view.modality, view.text, view.file_sha256) == (
        "ann",
        "OCT",
        "drusen",
        sha("a"),
    )
    assert queries.campaigns.find_assignments(session, campaign_id, [view.id, uuid4()]) == {
        view.id: view
    }
    assert queries.campaigns.find_assignments(session, uuid4(), [view.id]) == {}


def test_what_is_answered_is_not_asked_again(session: Session, rows: Rows) -> None:
    campaign_id, criterion_id = rows["campaign"]["id"], rows["criterion"]["id"]
    new = Assignment(
        campaign_id=campaign_id,
        rater_id=rows["rater"]["id"],
        image_id=add_image(session).id,
        position=1,
    )
    queries.campaigns.add_assignments(session, [new])
    waiting = queries.campaigns.assignments(session, campaign_id, unanswered_for=criterion_id)
    assert [view.id for view in waiting] == [new.id]
    (progress,) = queries.campaigns.progress_of_campaigns(session)
    assert (progress.num_assignments, progress.num_answered) == (2, 1)
    assert (progress.num_images, progress.num_raters) == (2, 1)


def test_the_latest_revision_stands_and_a_withdrawn_answer_is_none(
    session: Session, rows: Rows
) -> None:
    key = (rows["assignment"]["id"], rows["criterion"]["id"])
    campaign = session.get_one(Campaign, rows["assignment"]["campaign_id"])
    queries.ratings.add_answers(session, [revision(rows, 3, 2)])
    assert (
        queries.ratings.latest_verdicts(session, campaign, [key[0]])[key].model_dump()["value"] == 3
    )
    queries.ratings.add_answers(session, [revision(rows, 1, 2)])  # from another process: too late
    assert (
        queries.ratings.latest_verdicts(session, campaign, [key[0]])[key].model_dump()["value"] == 3
    )


def rated_by(session: Session, rows: Rows, rater: str, value: int | None) -> None:
    """Ask another rater about the campaign's image, and answer where a value is given."""
    person = Rater(name=rater)
    session.add(person)
    session.flush()
    [first] = queries.campaigns.find_assignments(
        session, rows["campaign"]["id"], [rows["assignment"]["id"]]
    ).values()
    asked = Assignment(
        campaign_id=rows["campaign"]["id"],
        rater_id=person.id,
        image_id=first.image_id,
        position=0,
    )
    queries.campaigns.add_assignments(session, [asked])
    if value is not None:
        answer = Rating(
            assignment_id=asked.id,
            criterion_id=rows["criterion"]["id"],
            scale_min=1,
            scale_max=3,
            value=value,
            rated_at=MOMENT,
        )
        queries.ratings.add_answers(session, [answer])


def disagreement_of(session: Session, rows: Rows) -> float | None:
    session.expire_all()
    return session.get_one(Standing, rows["image"]["id"]).disagreement


def test_raters_disagree_by_twice_the_standard_deviation_of_their_shares_of_the_scale(
    session: Session, rows: Rows
) -> None:
    assert rows["rating"]["value"] == 2  # ann's: 0.5 of a scale from 1 to 3
    rated_by(session, rows, "bob", 3)  # 1
    rated_by(session, rows, "eve", 3)
    queries.standings.note_disagreement(session, rows["campaign"]["id"])
    # mean 5/6, deviations 1/3, 1/6, 1/6: variance 1/18
    assert disagreement_of(session, rows) == pytest.approx(2 * (1 / 18) ** 0.5)
    queries.standings.note_standings(session, "train_distance", {rows["image"]["id"]: 0.25})
    row = session.get_one(Standing, rows["image"]["id"])
    session.refresh(row)
    assert row.train_distance == 0.25
    assert row.disagreement == pytest.approx(2 * (1 / 18) ** 0.5)


def test_disagreement_is_not_told_while_somebody_is_still_to_answer(
    session: Session, rows: Rows
) -> None:
    rated_by(session, rows, "bob", 3)
    rated_by(session, rows, "eve", None)
    queries.standings.note_disagreement(session, rows["campaign"]["id"])
    assert disagreement_of(session, rows) == rows["standing"]["disagreement"]
    rater_ids = [row.id for row in queries.campaigns.raters(session)]
    assert queries.ratings.open_campaigns_of(session, rater_ids) == ["c"]
    assert queries.ratings.open_campaigns_of(session, []) == []


def test_one_rater_alone_does_not_disagree(session: Session, rows: Rows) -> None:
    assert queries.standings.disagreements(queries.ratings.current_ratings(session)) == {}


def test_campaigns_that_ended_before_it_was_stored_are_caught_up_with(
    session: Session, rows: Rows
) -> None:
    rated_by(session, rows, "bob", 2)
    queries.standings.catch_up(session)  # somebody's is stored: nothing is to be made up for
    assert disagreement_of(session, rows) == rows["standing"]["disagreement"]
    session.delete(session.get_one(Standing, rows["image"]["id"]))
    session.commit()
    assert not queries.standings.has_standings(session, "disagreement")
    queries.standings.catch_up(session)
    assert disagreement_of(session, rows) == 0.0


def test_a_campaign_without_assignments_is_listed_at_nought(session: Session, rows: Rows) -> None:
    empty = Campaign(
        name="empty",
        rubric_id=rows["rubric"]["id"],
        seed=0,
        overlap=1,
        simulated=False,
        backend="csv",
    )
    queries.campaigns.add_campaign(session, empty, [])
    found = {row.campaign.name: row for row in queries.campaigns.progress_of_campaigns(session)}
    assert (found["empty"].num_assignments, found["empty"].num_answered) == (0, 0)


def test_only_unassigned_images_of_known_modalities_are_to_be_rated(
    session: Session, rows: Rows
) -> None:
    image = add_image(session)
    found = queries.images.images_to_rate(session, origin="real", modalities=["OCT"])
    assert [row.id for row in found] == [image.id]
    assert not queries.images.images_to_rate(session, origin="real", modalities=["CXR"])
    assert not queries.images.images_to_rate(session, origin="synthetic", modalities=["OCT"])


def test_images_are_found_by_bytes_and_by_the_path_they_came_from(
    session: Session, rows: Rows
) -> None:
    image = add_image(session)
    by_bytes = queries.images.images_of_files(session, [sha("a"), sha("0")])
    assert {row.id for row, _ in by_bytes[sha("a")]} == {image.id, rows["image"]["id"]}
    assert sha("0") not in by_bytes
    by_path = queries.images.images_of_source_paths(session, ["x.png", "y.png"])
    assert [(row.id, prompt.text) for row, prompt in by_path["x.png"]] == [(image.id, "drusen")]


def test_a_rater_of_the_same_name_must_be_the_same(session: Session, rows: Rows) -> None:
    ann = queries.campaigns.get_or_add_rater(
        session, name="ann", expert_level=3, simulated=False, config={}
    )
    assert ann.id == rows["rater"]["id"]
    with pytest.raises(StoreError, match="Give the other rater another name"):
        queries.campaigns.get_or_add_rater(
            session, name="ann", expert_level=1, simulated=False, config={}
        )


def test_a_reward_model_is_found_by_the_beginning_of_its_id(session: Session, rows: Rows) -> None:
    assert queries.reward_models.find_reward_model(session, "fff").id == sha("f")
    assert queries.reward_models.find_reward_model(session).id == sha("f")
    with pytest.raises(StoreError, match="Known: ffffffffffff"):
        queries.reward_models.find_reward_model(session, "abc")
    judge = RewardModel(
        id="f" * 63 + "0",
        role="judge",
        backbone="b",
        file_sha256=sha("a"),
        simulated=True,
        num_ratings=1,
    )
    queries.reward_models.add_reward_model(session, judge, {rows["rating"]["id"]: "fitted"})
    with pytest.raises(StoreError, match="Several reward models"):
        queries.reward_models.find_reward_model(session, "fff")
    assert queries.reward_models.find_reward_model(session).role == "reward"
    assert queries.reward_models.raters_behind(session, "judge") == {"ann"}


def test_images_without_a_score_come_in_pages_of_rising_ids(session: Session, rows: Rows) -> None:
    added = sorted((add_image(session).id for _ in range(5)), key=str)
    seen = []
    after = None
    while page := queries.reward_models.unscored_images(session, sha("f"), after=after, limit=2):
        seen += [image.id for image, _ in page]
        after = seen[-1]
    assert seen == added
    assert queries.reward_models.num_images_and_scores(session, sha("f")) == (6, 1)
    assert queries.reward_models.num_images_and_scores(session, sha("f"), origin="real") == (5, 0)
    queries.reward_models.add_scores(
        session, sha("f"), [(added[0], 0.5, 0.1), (added[1], 0.7, 0.1)]
    )
    queries.reward_models.add_scores(session, sha("f"), [(added[0], 0.9, 0.1)])  # there already
    assert queries.reward_models.num_images_and_scores(session, sha("f")) == (6, 3)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(modality="OCT"),
        Filter(origin="synthetic", version_id=sha("d"), run_id=sha("e"), seed=0),
        Filter(least_score=0.1, most_score=0.9),
        Filter(is_rated=True, label="amd"),
    ],
    ids=["modality", "version", "score", "rated"],
)
def test_an_order_by_standing_walks_its_index_whatever_many_images_fulfil(
    session: Session, rows: Rows, wanted: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries.gallery, "FEW", 0)  # one image is many
    connection = session.connection()
    explain = EXPLAIN[connection.dialect.name]
    if connection.dialect.name == "postgresql":  # of one row any plan is as good: make others dear
        connection.exec_driver_sql("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off")
    said: list[tuple[str, Any]] = []

    def listen(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        said.append((statement, parameters))

    prompt = session.get_one(Prompt, rows["prompt"]["id"])
    prompt.label = "amd"
    session.flush()
    sa.event.listen(connection, "before_cursor_execute", listen)
    for order, index in (
        ("nearest-training", "ix_standing_nearest_training"),
        ("most-disagreement", "ix_standing_disagreement"),
    ):
        found = queries.gallery.cards(
            session, wanted, order=order, reward_model_id=rows["score"]["reward_model_id"]
        )
        assert [card.image_id for card in found] == [rows["image"]["id"]]
        statement, parameters = said[-1]
        explained = connection.exec_driver_sql(f"{explain} {statement}", parameters)
        plan = "; ".join(str(row[-1]) for row in explained)
        assert index in plan and "ORDER BY" not in plan and "Sort" not in plan
    sa.event.remove(connection, "before_cursor_execute", listen)


WANTED = {
    "any": (Filter(), "012345"),
    "rated": (Filter(is_rated=True), "0"),
    "not rated": (Filter(is_rated=False), "12345"),
    "score": (Filter(least_score=0.25, most_score=0.5), "123"),
    "modality": (Filter(modality="OCT"), "0135"),
    "seed": (Filter(seed=0), "0"),
    "kept": (Filter(release_id=sha("7"), decision="kept"), "13"),
    "reason": (Filter(release_id=sha("7"), reason="blurred"), "2"),
    "real and OCT": (Filter(origin="real", modality="OCT", most_score=0.4), "1"),
    "words of nothing": (Filter(words="nothing"), ""),
}


@pytest.mark.parametrize("few", [0, 2, 2_000], ids="few={}".format)
@pytest.mark.parametrize("order", ["newest", "best", "worst"])
def test_the_same_images_in_the_same_order_however_they_are_found(
    session: Session, rows: Rows, monkeypatch: pytest.MonkeyPatch, few: int, order: str
) -> None:
    monkeypatch.setattr(queries.gallery, "FEW", few)
    ids = six_scored_images(session, rows)
    asked: Any = {"order": order, "reward_model_id": sha("8")}
    for name, (wanted, numbers) in WANTED.items():
        expected = [ids[int(number)] for number in numbers][:: 1 if order == "worst" else -1]
        found = queries.gallery.cards(session, wanted, **asked)
        assert [card.image_id for card in found] == expected, name
        if expected:  # the next page
            rest = queries.gallery.cards(session, wanted, after=expected[0], **asked)
            assert [card.image_id for card in rest] == expected[1:], name


def six_scored_images(session: Session, rows: Rows) -> list[UUID]:
    """Add images that are the newer and the better, the higher their number; 0 was there."""
    other = Prompt(id=sha("9"), modality="CT", text="liver")
    session.add(other)
    first = session.get_one(Image, rows["image"]["id"])
    real = [
        Image(
            file_sha256=first.file_sha256,
            pixels_sha256=first.pixels_sha256,
            origin="real",
            prompt_id=other.id if number in (2, 4) else first.prompt_id,
            shape=[1, 8, 8],
            created_at=first.created_at + dt.timedelta(days=number),
        )
        for number in range(1, 6)
    ]
    session.add_all(real)
    session.add(RewardModel(**{**rows["reward_model"], "id": sha("8"), "sequence": None}))
    session.flush()
    ids = [first.id, *(image.id for image in real)]
    scores = [(image_id, 0.125 * (number + 1), 0.1) for number, image_id in enumerate(ids)]
    queries.reward_models.add_scores(session, sha("8"), scores)
    session.add(Release(**{**rows["release"], "id": sha("7"), "sequence": None}))
    session.flush()
    for number, decision, reason in ((1, "kept", ""), (2, "rejected", "blurred"), (3, "kept", "")):
        said: dict[str, Any] = {"image_id": ids[number], "decision": decision, "reason": reason}
        session.add(ReleaseDecision(release_id=sha("7"), **said))
    session.flush()
    return ids
