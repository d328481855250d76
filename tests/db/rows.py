"""One valid row of every table, as the tests' material; parents come before children."""

import datetime as dt
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, SQLModel

from db import models

LATER = UUID(int=1)  # another image of the patient, which `insert` adds before a journey
MOMENT = dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=dt.UTC)


def sha(digit: str) -> str:
    """Return something as long as a SHA-256."""
    return digit * 64


def insert(session: Session, table: str, row: dict[str, Any]) -> None:
    """Insert a row; before a journey the second image that it needs."""
    if table == "journey":
        later = valid_rows()["image"] | {"id": LATER, "item_key": "later", "run_index": 1}
        images = SQLModel.metadata.tables["image"]
        if session.connection().execute(sa.select(images.c.id).filter_by(id=LATER)).first() is None:
            session.connection().execute(sa.insert(images).values(later))
    session.connection().execute(sa.insert(SQLModel.metadata.tables[table]).values(row))


def valid_rows(*, journeys: bool = False) -> dict[str, dict[str, Any]]:
    """Return {table: values} in an order in which they can be inserted."""
    rubric = models.Rubric(name="r", version=1)
    criterion = models.Criterion(
        rubric_id=rubric.id, name="quality", question="?", min_value=1, max_value=3
    )
    campaign = models.Campaign(
        name="c", rubric_id=rubric.id, seed=0, overlap=1, simulated=True, backend="simulated"
    )
    rater = models.Rater(name="ann")
    image = models.Image(
        file_sha256=sha("a"),
        pixels_sha256=sha("b"),
        origin="synthetic",
        prompt_id=sha("c"),
        shape=[1, 8, 8],
        version_id=sha("d"),
        run_id=sha("e"),
        run_index=0,
        seed=0,
        item_key="key",
        environment_id="cpu",
    )
    assignment = models.Assignment(
        campaign_id=campaign.id, rater_id=rater.id, image_id=image.id, position=0
    )
    rating = models.Rating(
        assignment_id=assignment.id, criterion_id=criterion.id, scale_min=1, scale_max=3, value=2
    )
    comparison = models.Comparison(
        assignment_id=assignment.id, criterion_id=criterion.id, preferred="left"
    )
    practice = models.Practice(name="p", rubric_id=rubric.id, seed=0, bar=0.8, pass_size=4)
    shown = models.PracticeItem(
        practice_id=practice.id, position=0, image_id=image.id, known={"quality": [1, 2]}
    )
    rows: list[SQLModel] = [
        models.File(sha256=sha("a"), num_bytes=1, media_type="image/png"),
        models.DerivedFile(key=sha("8"), file_sha256=sha("a")),
        models.Prompt(id=sha("c"), modality="OCT", text="drusen"),
        models.PromptCondition(prompt_id=sha("c"), role="mask", file_sha256=sha("a")),
        models.RewardModel(
            id=sha("f"), backbone="b", file_sha256=sha("a"), simulated=True, num_ratings=1
        ),
        models.Generator(name="g", family="text-to-image"),
        models.GeneratorVersion(id=sha("d"), generator_name="g", how_made="embedded"),
        models.GeneratorVersionFile(version_id=sha("d"), path="unet", file_sha256=sha("a")),
        models.Run(
            id=sha("e"),
            version_id=sha("d"),
            prompt_ids=[sha("c")],
            count=1,
            first_seed=0,
            num_items=1,
            settings={},
        ),
        models.Environment(id="cpu", details={}),
        image,
        models.ImageStudy(
            image_id=image.id, patient="p", study="s", position=0, view="PA", place="t.csv:2"
        ),
        models.Journey(
            prior_image_id=image.id,
            new_image_id=LATER,
            patient="p",
            days=3,
            split="train",
            text_source="rules",
            registered_sha256=sha("a"),
            ncc=0.5,
        ),
        rubric,
        criterion,
        campaign,
        rater,
        assignment,
        rating,
        comparison,
        practice,
        shown,
        models.PracticeAnswer(
            practice_id=practice.id,
            rater_id=rater.id,
            number=0,
            item_id=shown.id,
            verdicts={"quality": 2},
        ),
        models.CampaignPractice(campaign_id=campaign.id, practice_id=practice.id),
        models.QuarantinedAnswer(
            campaign_id=campaign.id, source_uid="1", content_hash="h", reason="?", content={}
        ),
        models.SyncMark(campaign_id=campaign.id, place="1", mark=MOMENT),
        models.RewardModelRating(reward_model_id=sha("f"), rating_id=rating.id, use="fitted"),
        models.Score(reward_model_id=sha("f"), image_id=image.id, mean=0.5, spread=0.1),
        models.Standing(image_id=image.id, train_distance=0.3, disagreement=0.5),
        models.Round(loop_name="l", number=1, base_version_id=sha("d"), start_version_id=sha("d")),
        models.Release(id=sha("9"), name="v1", manifest_sha256=sha("a")),
        models.ReleaseDecision(
            release_id=sha("9"), image_id=image.id, decision="kept", reason="score"
        ),
        models.Archived(kind="run", id=sha("e")),
        models.AuditEvent(actor="ann", command="generate"),
    ]
    return {
        str(row.__tablename__): row.model_dump(
            exclude={"sequence"}  # the database counts
        )
        for row in rows
        if journeys or not isinstance(row, models.Journey)
    }
