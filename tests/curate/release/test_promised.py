"""Releases with a promise, from the story's second version: 12 images that nobody has rated."""

import copy
import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import beta
from sqlmodel import select

from curate.errors import CurateError
from curate.progress import Advance
from curate.release.config import ExportConfig
from curate.release.manifest import manifest_bytes
from curate.release.publish import Exported, export_release
from curate.release.verify import verify_release
from curate.status import read_status
from db import queries
from db.hashing import json_hash
from db.models import Assignment, Campaign, Image, Rating, Release, RewardModelRating
from db.queries.campaigns import PURPOSE

PROMISE = ExportConfig(target_precision=0.7)  # 9 good images of 9


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


def _export(story: Any, folder: Path, config: ExportConfig = PROMISE) -> Exported:
    return export_release(story.ws, folder, config, _silent)


def _draw(
    story: Any,
    value: Callable[[Image], int | None],
    *,
    name: str = "draw",
    method: str = "random",
    chance: float = 1.0,
) -> Campaign:
    """Every image of the new version, rated by three raters alike."""
    session = story.ws.session
    rubric, [criterion] = queries.campaigns.default_rubric(session, 1)
    campaign = Campaign(
        name=name, rubric_id=rubric.id, seed=0, overlap=3, simulated=True, backend="simulated"
    )
    session.add(campaign)
    session.flush()
    for number in range(3):
        rater = queries.campaigns.get_or_add_rater(
            session, name=f"rater {number}", expert_level=3, simulated=True, config={}
        )
        drawn = [image for key, image in story.images.items() if key[0] == story.versions[1].id]
        for position, image in enumerate(drawn):
            assignment = Assignment(
                campaign_id=campaign.id,
                rater_id=rater.id,
                image_id=image.id,
                position=position,
                purpose="calibration",
                selection_method=method,
                inclusion_probability=chance,
            )
            session.add(assignment)
            session.flush()
            if value(image) is not None:
                session.add(
                    Rating(
                        assignment_id=assignment.id,
                        criterion_id=criterion.id,
                        scale_min=1,
                        scale_max=3,
                        value=value(image),
                    )
                )
    session.commit()
    return campaign


def _best_for(*seeds: int) -> Callable[[Image], int]:
    return lambda image: 3 if image.seed in seeds else 2


def test_a_promise_without_a_draw_is_refused_and_says_how_to_make_one(
    story: Any, tmp_path: Path
) -> None:
    with pytest.raises(CurateError, match="No calibration ratings.*At least 9.*--purpose calibr"):
        _export(story, tmp_path / "release")
    assert not (tmp_path / "release").exists()


def test_a_promise_that_the_ratings_carry_is_certified_and_proved_again(
    story: Any, tmp_path: Path
) -> None:
    _draw(story, lambda image: 3)
    done = _export(story, tmp_path / "release")
    assert done.certificate is not None and done.num_kept >= 9
    [part] = done.certificate["certified"]
    assert part["num_errors"] == 0 and part["num_images"] == done.num_kept
    assert part["precision_bound"] == pytest.approx(0.05 ** (1 / part["num_rated"]))
    assert verify_release(done.folder).ok
    card = (done.folder / "README.md").read_text()
    assert "At 95 % confidence, at least 70 % of the synthetic images here are good" in card
    assert "simulated raters say" in card
    release = queries.releases.releases(story.ws.session)[0]
    assert release.evidence["certificate"] == done.certificate


def test_only_what_the_draw_was_from_leaves(story: Any, tmp_path: Path) -> None:
    _draw(story, lambda image: 3)
    done = _export(story, tmp_path / "release")
    # of the base version's 12 images, 4 were there and unrated at the draw, but it drew none
    assert done.reasons["outside the promise"] == 12


def test_an_image_that_raters_did_not_find_good_counts_as_an_error_and_stays_behind(
    story: Any, tmp_path: Path
) -> None:
    _draw(story, _best_for(1, 2, 3, 4, 5))
    done = _export(story, tmp_path / "release", ExportConfig(target_precision=0.5))
    with (done.folder / "calibration.csv").open() as file:
        bad = {row["item_key"] for row in csv.DictReader(file) if row["good"] == "no"}
    with (done.folder / "rejected.csv").open() as file:
        left_out = {row["item_key"] for row in csv.DictReader(file)}
    assert len(bad) == 2 and bad <= left_out


def test_an_unrated_image_of_the_draw_counts_as_an_error(story: Any, tmp_path: Path) -> None:
    _draw(story, lambda image: None if image.seed == 5 else 3)  # the best by their scores
    with pytest.raises(CurateError, match="No threshold keeps the promise"):
        _export(story, tmp_path / "release")


def test_when_no_threshold_keeps_the_promise_nothing_is_exported(
    story: Any, tmp_path: Path
) -> None:
    _draw(story, _best_for(0, 1, 2))
    with pytest.raises(CurateError, match="nothing is exported.*rated images were not good"):
        _export(story, tmp_path / "release")
    assert not (tmp_path / "release").exists()
    assert not queries.releases.releases(story.ws.session)


def test_what_counts_as_good_can_be_set(story: Any, tmp_path: Path) -> None:
    _draw(story, lambda image: 2)
    with pytest.raises(CurateError, match="nothing is exported"):
        _export(story, tmp_path / "release")
    good = ExportConfig(target_precision=0.7, good=2)
    assert _export(story, tmp_path / "release", good).num_kept >= 9
    with pytest.raises(CurateError, match="Choose 2 to 3"):
        _export(story, tmp_path / "other", ExportConfig(target_precision=0.7, good=1))


def test_images_that_were_chosen_for_what_they_show_carry_no_promise(
    story: Any, tmp_path: Path
) -> None:
    _draw(story, lambda image: 3, method="active", chance=0.5)
    with pytest.raises(CurateError, match="same chance"):
        _export(story, tmp_path / "release")


def test_a_draw_whose_pool_cannot_be_told_carries_no_promise(story: Any, tmp_path: Path) -> None:
    _draw(story, lambda image: 3, chance=0.5)  # says that it drew 12 of 24
    with pytest.raises(CurateError, match="cannot be told"):
        _export(story, tmp_path / "release")


def test_a_reward_model_that_learned_from_the_draw_is_refused(story: Any, tmp_path: Path) -> None:
    campaign = _draw(story, lambda image: 3)
    rating = queries.ratings.current_ratings(story.ws.session, campaign_id=campaign.id)[0]
    story.ws.session.add(
        RewardModelRating(
            reward_model_id=story.reward_model.id, rating_id=rating.rating_id, use="fitted"
        )
    )
    story.ws.session.commit()
    with pytest.raises(CurateError, match="learned from 1 of the images"):
        _export(story, tmp_path / "release")


def test_a_modality_without_a_promise_of_its_own_stays_behind(story: Any, tmp_path: Path) -> None:
    oct_prompt = story.prompts[0].id
    _draw(story, lambda image: 3 if image.prompt_id == oct_prompt else 1)
    config = ExportConfig(target_precision=0.5, confidence=0.9, per_modality=True)
    done = _export(story, tmp_path / "release", config)  # 5 good of 5, at 95 % for each of two
    assert done.certificate is not None and done.certificate["failed"] == ["CXR"]
    assert done.certificate["confidence_of_each_test"] == pytest.approx(0.95)
    with (done.folder / "data.csv").open() as file:
        assert {row["modality"] for row in csv.DictReader(file)} == {"OCT"}
    assert verify_release(done.folder).ok


def test_a_threshold_beside_a_promise_is_refused(story: Any, tmp_path: Path) -> None:
    _draw(story, lambda image: 3)
    with pytest.raises(CurateError, match="drop --threshold"):
        _export(story, tmp_path / "r", ExportConfig(target_precision=0.7, threshold=0.5))


@pytest.mark.parametrize(
    ("file", "before", "after", "fault"),
    [
        (
            "certificate.json",
            '"target_precision": 0.7',
            '"target_precision": 0.99',
            "support no promise",
        ),
        ("certificate.json", '"num_images": 12', '"num_images": 13', "another threshold or bound"),
        ("calibration.csv", ",yes,yes", ",no,yes", "has 1 errors in 12"),
    ],
)
def test_an_embellished_certificate_is_found_even_when_the_manifest_agrees(
    story: Any, tmp_path: Path, file: str, before: str, after: str, fault: str
) -> None:
    _draw(story, lambda image: 3)
    folder = _export(story, tmp_path / "release").folder
    content = (folder / file).read_text().replace(before, after, 1).encode()
    assert content != (folder / file).read_bytes()
    (folder / file).write_bytes(content)
    raw = json.loads((folder / "manifest.json").read_text())
    entry = next(entry for entry in raw["files"] if entry["path"] == file)
    entry.update(sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content))
    (folder / "manifest.json").write_bytes(manifest_bytes(raw))
    problems = verify_release(folder).problems
    assert {problem.kind for problem in problems} == {"promise"}
    assert fault in " ".join(problem.found for problem in problems)


def _change(story: Any, campaign: Campaign, seed: int, value: int) -> None:
    """Let all raters of a draw say otherwise of the new version's images of a seed."""
    session = story.ws.session
    made = {image.id for key, image in story.images.items() if image.seed == seed}
    asked = session.exec(select(Assignment).where(Assignment.campaign_id == campaign.id)).all()
    for assignment in asked:
        if assignment.image_id in made:
            said = session.exec(select(Rating).where(Rating.assignment_id == assignment.id)).one()
            session.add(
                Rating(
                    assignment_id=assignment.id,
                    criterion_id=said.criterion_id,
                    scale_min=1,
                    scale_max=3,
                    value=value,
                    revision=2,
                )
            )
    session.commit()


def _as_written_by_ids(story: Any, release_id: str) -> None:
    """Give a release's evidence the hash that 0.2.0 wrote, of the ids of the ratings' rows."""
    session = story.ws.session
    ids = session.exec(select(Rating.id).join(Assignment).where(Assignment.purpose == PURPOSE))
    written = "".join(sorted(f"{id_} 3\n" for id_ in ids))
    row = session.get_one(Release, release_id)
    evidence = copy.deepcopy(row.evidence)
    calibration = evidence["certificate"]["calibration"]
    calibration["ratings_sha256"] = hashlib.sha256(written.encode()).hexdigest()
    row.evidence = evidence
    session.add(row)
    session.commit()


def test_status_says_when_changed_ratings_break_a_promise(story: Any, tmp_path: Path) -> None:
    campaign = _draw(story, lambda image: 3)
    exported = _export(story, tmp_path / "release")
    assert exported.certificate is not None
    [part] = exported.certificate["certified"]
    assert (part["num_rated"], part["num_errors"]) == (12, 0)
    assert read_status(story.ws).promises == []
    new = [image for key, image in story.images.items() if key[0] == story.versions[1].id]
    said = [  # what was said of what, not by which rows' ids: three raters, each the top grade
        [image.file_sha256, image.prompt_id, None, f"rater {number}", 3, "quality", 3]
        for image in new
        for number in range(3)
    ]
    evidence = exported.certificate["calibration"]
    assert evidence["ratings_sha256"] == json_hash(sorted(said, key=repr))
    _as_written_by_ids(story, exported.release_id)
    assert read_status(story.ws).promises == []
    # of 12 rated images, one error is too many at 70 %: 0.7^12 + 12 x 0.3 x 0.7^11 = 0.085
    _change(story, campaign, seed=0, value=2)
    status = read_status(story.ws)
    [live] = status.promises
    errors = sum(image.seed == 0 for image in new)
    [now] = live.parts
    assert (now.num_rated, now.errors_then, now.errors_now) == (12, 0, errors)
    assert live.num_now_bad == errors and not live.holds
    assert now.precision_bound == pytest.approx(beta.ppf(0.05, 12 - errors, errors + 1))
    assert any("the promise of 70 % no longer holds" in line for line in status.lines())
    assert status.to_json()["promises"][0]["holds"] is False
