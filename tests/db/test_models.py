from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from db.engine import Session
from tests.db.rows import insert, sha, valid_rows

METADATA = SQLModel.metadata
TABLES = list(valid_rows(journeys=True))

# (table, what makes its valid row wrong, the CHECK that must say so)
BAD_VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("file", {"sha256": "abc"}, "sha256_is_a_hash"),
    ("file", {"num_bytes": -1}, "num_bytes_is_not_negative"),
    ("derived_file", {"key": "abc"}, "key_is_a_hash"),
    ("prompt", {"id": "abc"}, "id_is_a_hash"),
    ("prompt_condition", {"role": "Mask"}, "role_is_lower_case"),
    ("prompt_condition", {"role": ""}, "role_is_lower_case"),
    ("reward_model", {"id": "abc"}, "id_is_a_hash"),
    ("reward_model", {"role": "rater"}, "role_is_known"),
    ("generator_version", {"id": "abc"}, "id_is_a_hash"),
    ("generator_version", {"weights": "some", "parent_id": sha("d")}, "weights_is_known"),
    ("generator_version", {"weights": "lora"}, "lora_has_a_parent"),
    ("run", {"id": "abc"}, "id_is_a_hash"),
    ("run", {"count": 0}, "count_is_positive"),
    ("run", {"num_items": 0}, "num_items_is_positive"),
    ("image", {"origin": "found"}, "origin_is_known"),
    ("image", {"seed": None}, "synthetic_can_be_made_again"),
    ("image", {"version_id": None}, "synthetic_can_be_made_again"),
    ("image", {"run_id": None}, "synthetic_can_be_made_again"),
    ("image", {"run_index": None}, "synthetic_can_be_made_again"),
    ("image", {"item_key": None}, "synthetic_can_be_made_again"),
    ("image", {"origin": "real"}, "real_has_no_version"),
    ("image", {"split": "dev"}, "split_is_known"),
    ("image", {"pixels_sha256": "abc"}, "pixels_sha256_is_a_hash"),
    ("criterion", {"min_value": 3}, "scale_has_two_values"),
    ("criterion", {"polarity": "up"}, "polarity_is_known"),
    ("criterion", {"kind": "mood"}, "kind_is_known"),
    ("campaign", {"kind": "quiz"}, "kind_is_known"),
    ("campaign", {"overlap": 0}, "overlap_is_positive"),
    ("rater", {"expert_level": 4}, "expert_level_is_known"),
    ("assignment", {"purpose": "fun"}, "purpose_is_known"),
    ("assignment", {"inclusion_probability": 0.0}, "inclusion_probability_is_in_range"),
    ("assignment", {"inclusion_probability": 1.01}, "inclusion_probability_is_in_range"),
    ("assignment", {"position": -1}, "position_is_not_negative"),
    ("assignment", {"other_image_id": "image_id"}, "pair_has_two_images"),
    ("rating", {"value": 0}, "value_is_on_the_scale"),
    ("rating", {"value": 4}, "value_is_on_the_scale"),
    ("rating", {"revision": 0}, "revision_is_positive"),
    ("comparison", {"preferred": "both"}, "preferred_is_known"),
    ("comparison", {"revision": 0}, "revision_is_positive"),
    ("reward_model_rating", {"use": "seen"}, "use_is_known"),
    ("score", {"spread": -0.1}, "spread_is_not_negative"),
    ("standing", {"train_distance": -0.1}, "train_distance_is_not_negative"),
    ("standing", {"disagreement": 1.1}, "disagreement_is_in_range"),
    ("round", {"state": "done"}, "state_is_known"),
    ("round", {"number": 0}, "number_is_positive"),
    ("round", {"state": "promoted"}, "promoted_has_a_version"),
    ("journey", {"new_image_id": "prior_image_id"}, "journey_has_two_images"),
    ("archived", {"kind": "rater"}, "kind_is_known"),
    ("journey", {"days": 0}, "prior_is_earlier"),
    ("journey", {"split": "rest"}, "split_is_known"),
    ("journey", {"text_source": "hearsay"}, "text_source_is_known"),
    ("journey", {"ncc": 1.5}, "ncc_is_a_correlation"),
    ("practice", {"bar": 0.0}, "bar_is_a_share"),
    ("practice", {"bar": 1.01}, "bar_is_a_share"),
    ("practice", {"pass_size": 0}, "pass_size_is_positive"),
    ("practice_item", {"position": -1}, "position_is_not_negative"),
    ("practice_answer", {"number": -1}, "number_is_not_negative"),
    ("release", {"id": "abc"}, "id_is_a_hash"),
    ("release_decision", {"decision": "maybe"}, "decision_is_known"),
]


def insert_parents(session: Session, table: str) -> dict[str, Any]:
    """Insert what comes before a table; return the table's own valid row, not inserted."""
    for name, row in valid_rows(journeys=True).items():
        if name == table:
            return row
        insert(session, name, row)
    raise KeyError(table)


def constraints(kind: type[Any]) -> list[tuple[str, Any]]:
    """Return the (table, constraint) pairs of one kind."""
    return [
        (name, constraint)
        for name, table in METADATA.tables.items()
        for constraint in sorted(table.constraints, key=lambda found: str(found.name))
        if isinstance(constraint, kind)
    ]


def unknown(column: sa.Column[Any]) -> Any:
    """Return a value of the column's type that no row has."""
    if isinstance(column.type, sa.Uuid):
        return uuid4()
    return 7 if isinstance(column.type, sa.Integer) else sha("0")


def test_a_valid_row_of_every_table_is_taken(session: Session) -> None:
    for name, row in valid_rows(journeys=True).items():
        insert(session, name, row)
    assert set(TABLES) == set(METADATA.tables)


@pytest.mark.parametrize(
    ("table", "change", "check"), BAD_VALUES, ids=[f"{t}-{c}" for t, _, c in BAD_VALUES]
)
def test_the_database_refuses_a_bad_value(
    session: Session, table: str, change: dict[str, Any], check: str
) -> None:
    row = insert_parents(session, table)
    change = {
        name: row.get(value, value) if isinstance(value, str) else value
        for name, value in change.items()
    }
    with pytest.raises(IntegrityError, match=f"ck_{table}_{check}"):
        insert(session, table, row | change)


def test_every_check_has_been_tried() -> None:
    declared = {str(check.name) for _, check in constraints(sa.CheckConstraint)}
    assert declared == {f"ck_{table}_{check}" for table, _, check in BAD_VALUES}


@pytest.mark.parametrize(
    ("table", "key"),
    constraints(sa.ForeignKeyConstraint),
    ids=[str(key.name) for _, key in constraints(sa.ForeignKeyConstraint)],
)
def test_the_database_refuses_a_child_without_its_parent(
    session: Session, table: str, key: sa.ForeignKeyConstraint
) -> None:
    row = insert_parents(session, table)
    column = next(iter(key.columns))
    with pytest.raises(IntegrityError, match=f"FOREIGN KEY constraint failed|{key.name}"):
        insert(session, table, row | {column.name: unknown(column)})


UNIQUE_KEYS = [
    (table, key)
    for table, key in constraints(sa.UniqueConstraint)
    if "id" not in key.columns  # else the primary key says no first
]


@pytest.mark.parametrize(
    ("table", "key"), UNIQUE_KEYS, ids=[str(key.name) for _, key in UNIQUE_KEYS]
)
def test_the_database_refuses_a_second_row_with_the_same_key(
    session: Session, table: str, key: sa.UniqueConstraint
) -> None:
    row = insert_parents(session, table)
    insert(session, table, row)
    in_sqlites_words = ", ".join(f"{table}.{column.name}" for column in key.columns)
    with pytest.raises(IntegrityError, match=f"{in_sqlites_words}|{key.name}"):
        insert(session, table, row | {"id": uuid4()})


@pytest.mark.parametrize("table", TABLES)
def test_the_database_refuses_the_same_row_twice(session: Session, table: str) -> None:
    row = insert_parents(session, table)
    insert(session, table, row)
    with pytest.raises(IntegrityError):
        insert(session, table, row)


def test_a_rating_cannot_claim_another_scale_than_its_criterions(session: Session) -> None:
    row = insert_parents(session, "rating")
    with pytest.raises(IntegrityError):
        insert(session, "rating", row | {"scale_max": 5, "value": 5})


@pytest.mark.parametrize("table", ["rating", "comparison", "practice_answer", "audit_event"])
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id", "DELETE FROM {}"])
def test_what_was_said_can_neither_be_changed_nor_deleted(
    session: Session, table: str, change: str
) -> None:
    insert(session, table, insert_parents(session, table))
    with pytest.raises(IntegrityError, match=f"{table} is append-only"):
        session.connection().execute(sa.text(change.format(table)))


def test_a_verdict_cannot_be_replaced_either(session: Session) -> None:
    row = insert_parents(session, "rating")
    insert(session, "rating", row)
    if session.connection().dialect.name == "sqlite":
        change = sa.insert(METADATA.tables["rating"]).prefix_with("OR REPLACE").values(row)
        with pytest.raises(IntegrityError, match="append-only"):
            session.connection().execute(change)
    else:
        with pytest.raises(IntegrityError, match="append-only"):
            session.connection().execute(sa.text("TRUNCATE rating CASCADE"))
