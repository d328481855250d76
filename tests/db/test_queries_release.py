from typing import Any
from uuid import UUID, uuid4

import pytest

from db import queries
from db.engine import Session
from db.models import GeneratorVersion, Image, Release, ReleaseDecision, Round
from tests.db.rows import insert, sha, valid_rows


@pytest.fixture
def rows(session: Session) -> dict[str, dict[str, Any]]:
    """One valid row in every table."""
    rows = valid_rows()
    for name, values in rows.items():
        insert(session, name, values)
    return rows


def _add_image(session: Session, rows: dict[str, dict[str, Any]], **changed: Any) -> UUID:
    image = Image(**{**rows["image"], "id": uuid4(), **changed})
    session.add(image)
    session.flush()
    return image.id


def _add_version(session: Session, digit: str, parent_id: str | None) -> GeneratorVersion:
    version = GeneratorVersion(
        id=sha(digit), generator_name="g", how_made="rl-step", parent_id=parent_id
    )
    session.add(version)
    session.flush()
    return version


def test_images_come_with_the_score_of_the_model_asked_for(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    unscored = _add_image(session, rows, item_key="a key before", seed=1)
    found = queries.images.synthetic_images(session, reward_model_id=sha("f"))
    assert [(image.item_key, image.score, image.spread) for image in found] == [
        ("a key before", None, None),
        ("key", 0.5, 0.1),
    ]
    assert found[1].text == "drusen" and found[1].version_id == sha("d")
    [other] = queries.images.synthetic_images(session, reward_model_id=None, limit=1)
    assert other.image_id == unscored and other.score is None
    by_id = queries.images.synthetic_images_by_id(
        session, [rows["image"]["id"]], reward_model_id=sha("f")
    )
    assert by_id == {rows["image"]["id"]: found[1]}
    assert not queries.images.synthetic_images(session, reward_model_id=None, version_id=sha("0"))


def test_pairs_share_prompt_seed_and_settings(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    _add_version(session, "1", sha("d"))
    for seed, settings_hash in [(0, "s"), (1, "s"), (2, "other")]:
        for version_id in (sha("d"), sha("1")):
            made_with = {
                "version_id": version_id,
                "seed": seed,
                "settings_hash": "s" if version_id == sha("d") else settings_hash,
            }
            _add_image(session, rows, item_key=f"{version_id} {seed}", **made_with)
    pairs = queries.images.same_noise_pairs(
        session, before_id=sha("d"), after_id=sha("1"), reward_model_id=None
    )
    assert [(a.version_id, b.version_id, a.seed, b.seed) for a, b in pairs] == [
        (sha("d"), sha("1"), 0, 0),
        (sha("d"), sha("1"), 1, 1),
    ]


def test_real_images_are_chosen_by_split_and_their_pixels_known(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    synthetic_only = dict.fromkeys(
        ("version_id", "run_id", "run_index", "seed", "item_key", "environment_id")
    )
    for digit, split in [("1", "train"), ("2", "val"), ("3", None)]:
        _add_image(
            session, rows, origin="real", split=split, pixels_sha256=sha(digit), **synthetic_only
        )

    def pixels(*splits: str | None) -> list[str]:
        found = queries.images.real_images(session, splits=splits)
        return [image.pixels_sha256 for image, _ in found]

    assert pixels("train", None) == [sha("1"), sha("3")]
    assert pixels("val") == [sha("2")]
    asked = [sha("b"), sha("2"), sha("9")]  # the synthetic image's, a real one's, nobody's
    assert queries.images.real_pixels_among(session, asked) == {sha("2")}


def test_a_version_is_rejected_unless_some_round_promoted_it(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    def judged(number: int, version_id: str, state: str) -> None:
        session.add(
            Round(
                loop_name="l",
                number=number,
                state=state,
                base_version_id=sha("d"),
                start_version_id=sha("d"),
                new_version_id=version_id,
            )
        )
        session.flush()

    for digit in "123":
        _add_version(session, digit, sha("d"))
    judged(2, sha("1"), "rejected")
    judged(3, sha("2"), "rejected")
    judged(4, sha("2"), "promoted")
    judged(5, sha("3"), "gate_pushed")
    rejected = queries.rounds.rejected_versions(session)
    assert {id_: row.number for id_, row in rejected.items()} == {sha("1"): 2}
    made_in = queries.rounds.rounds_that_made(session, [sha("2"), sha("3"), sha("d")])
    assert {id_: row.number for id_, row in made_in.items()} == {sha("2"): 3, sha("3"): 5}


def test_the_ancestry_begins_with_the_version_and_ends_with_the_root(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    _add_version(session, "1", sha("d"))
    _add_version(session, "2", sha("1"))
    line = queries.versions.ancestry(session, sha("2"))
    assert [version.id for version in line] == [sha("2"), sha("1"), sha("d")]
    assert [v.id for v in queries.versions.versions_with_images(session)] == [sha("d")]


def test_a_reward_models_ratings_say_all_but_the_raters_name(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    [rating] = queries.reward_models.ratings_of_reward_models(session, [sha("f")])
    assert rating.rating_id == rows["rating"]["id"] and rating.rater_id == rows["rater"]["id"]
    assert (rating.value, rating.min_value, rating.max_value, rating.use) == (2, 1, 3, "fitted")
    assert "ann" not in map(str, vars(rating).values())
    assert queries.reward_models.ratings_of_reward_models(session, []) == []


def test_a_release_is_added_once_with_all_its_decisions(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    image_id = rows["image"]["id"]
    release = Release(id=sha("7"), name="v2", manifest_sha256=sha("a"))
    for _ in range(2):
        decision = ReleaseDecision(
            release_id=sha("7"), image_id=image_id, decision="rejected", reason="not scored"
        )
        queries.releases.add_release(session, release, [decision])
    assert [row.name for row in queries.releases.releases(session)] == ["v1", "v2"]
    [found] = queries.releases.decisions_of(session, sha("7"))
    assert (found.image_id, found.reason) == (image_id, "not scored")
    assert queries.releases.has_release(session, sha("7"))
    assert not queries.releases.has_release(session, sha("0"))


def test_items_and_rated_images_are_told_from_others_among_very_many(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    """More than one statement takes as variables."""
    many = [f"key {number}" for number in range(1200)]
    assert not queries.images.has_any_item(session, many)
    assert queries.images.has_any_item(session, [*many, "key"])
    ids = [uuid4() for _ in range(1200)]
    assert queries.campaigns.rated_among(session, [*ids, rows["image"]["id"]]) == {
        rows["image"]["id"]
    }
