import csv
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage
from sqlmodel import select

from curate.errors import CurateError
from curate.progress import Advance
from curate.release import publish
from curate.release.config import ExportConfig
from curate.release.manifest import read_manifest
from curate.release.publish import Exported, export_release
from curate.release.verify import verify_release
from curate.samples.pixels import array_of, pixels_hash
from curate.workspace import open_workspace
from db import queries
from db.models import Image, Standing
from tests.children import ended

CONFIG = ExportConfig(threshold=0.35)


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


def _export(story: Any, folder: Path | None, config: ExportConfig = CONFIG) -> Exported:
    return export_release(story.ws, folder, config, _silent)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _bytes_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_how_far_images_are_from_training_images_is_kept_for_the_site(
    story: Any, tmp_path: Path
) -> None:
    copied, new = [image for image in story.images.values()][-2:]
    film = Image(
        file_sha256=copied.file_sha256,
        pixels_sha256="e" * 64,
        origin="real",
        prompt_id=copied.prompt_id,
        shape=copied.shape,
        source_path="film.png",
    )
    story.ws.session.add(film)
    story.ws.session.commit()
    session = story.ws.session
    publish.would_export(story.ws, None, CONFIG, _silent)
    assert session.exec(select(Standing)).all() == []
    done = _export(story, tmp_path / "release")
    found = {row.image_id: row.train_distance for row in session.exec(select(Standing))}
    compared = {
        row.image_id
        for row in queries.releases.decisions_of(session, done.release_id)
        if row.reason != "score below the threshold"
    }
    assert set(found) == compared and film.id not in found
    assert found[copied.id] == pytest.approx(0.0, abs=1e-5) and found[new.id] > 1e-3


def test_every_image_has_a_decision_row_and_what_is_kept_is_in_the_folder(
    story: Any, tmp_path: Path
) -> None:
    done = _export(story, tmp_path / "release")
    decisions = queries.releases.decisions_of(story.ws.session, done.release_id)
    assert {decision.image_id for decision in decisions} == {i.id for i in story.images.values()}
    kept = {decision.image_id for decision in decisions if decision.decision == "kept"}
    assert 2 < len(kept) == done.num_kept < len(decisions)
    assert done.num_rejected == len(decisions) - len(kept) == sum(done.reasons.values())
    stored = {i.pixels_sha256 for i in story.images.values() if i.id in kept}
    written = {
        pixels_hash(array_of(path.read_bytes()))
        for path in (tmp_path / "release" / "images").rglob("*.png")
    }
    assert written == stored


def test_the_tables_name_the_same_images_and_every_rejected_one_has_a_reason(
    story: Any, tmp_path: Path
) -> None:
    done = _export(story, tmp_path / "release")
    minim, rejected = (_rows(done.folder / name) for name in ("data.csv", "rejected.csv"))
    assert list(minim[0])[:3] == ["path", "Text", "modality"]
    assert all((done.folder / row["path"]).is_file() for row in minim)
    metadata = _rows(done.folder / "images" / "metadata.csv")
    assert [f"images/{row['file_name']}" for row in metadata] == [row["path"] for row in minim]
    assert len(rejected) == done.num_rejected and all(row["reason"] for row in rejected)
    low = [row for row in rejected if row["reason"] == "score below the threshold"]
    assert low and all(float(row["score"]) < 0.35 == float(row["threshold"]) for row in low)


@pytest.mark.filterwarnings(  # datasets leaves metadata.csv open
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.slow
def test_datasets_opens_the_folder_as_an_imagefolder(story: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    done = _export(story, tmp_path / "release")
    expected = {
        f"images/{row['file_name']}": row for row in _rows(done.folder / "images" / "metadata.csv")
    }
    for opened in (
        datasets.load_dataset(
            "imagefolder", data_dir=str(done.folder), cache_dir=str(tmp_path / "cache-1")
        ),
        datasets.load_dataset(str(done.folder), cache_dir=str(tmp_path / "cache-2")),
    ):
        assert list(opened) == ["train"] and len(opened["train"]) == done.num_kept
        first = opened["train"][0]
        assert isinstance(first["image"], PillowImage.Image) and first["image"].size == (64, 64)
        columns = "image text modality label score origin simulated_ratings split group"
        assert sorted(first) == sorted([*columns.split(), "source", "licence"])
        by_text = {(row["text"], float(row["score"])) for row in expected.values()}
        assert {(row["text"], row["score"]) for row in opened["train"]} == by_text
        assert first["simulated_ratings"] is True and first["origin"] == "synthetic"


def test_the_same_rows_give_the_same_bytes_wherever_they_are_exported(
    story: Any, tmp_path: Path
) -> None:
    one = _export(story, tmp_path / "one")
    two = _export(story, tmp_path / "deep" / "two")
    assert one.release_id == two.release_id
    assert _bytes_of(tmp_path / "one") == _bytes_of(tmp_path / "deep" / "two")
    manifest = (tmp_path / "one" / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == one.release_id
    assert story.ws.store.get(one.release_id) == manifest  # the manifest is in the store


def test_the_same_export_again_changes_nothing(story: Any, tmp_path: Path) -> None:
    first = _export(story, None)
    again = _export(story, None)
    assert first.new and not again.new
    assert first.folder == again.folder == story.ws.folder / "releases" / first.release_id[:12]
    assert len(queries.releases.releases(story.ws.session)) == 1
    assert os.listdir(story.ws.folder / "releases") == [first.folder.name]


def test_a_folder_with_anything_else_is_left_alone(story: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(CurateError, match="not a release"):
        _export(story, tmp_path / "mine")
    done = _export(story, tmp_path / "release")
    with pytest.raises(CurateError, match="another release"):
        _export(story, done.folder, ExportConfig(threshold=0.5))
    assert read_manifest(done.folder).release_id == done.release_id
    assert sorted(os.listdir(tmp_path)) == ["mine", "release", "workspace"]


def test_none_passed_is_an_error_and_leaves_no_folder(story: Any, tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="None of 24 scored images"):
        _export(story, tmp_path / "release", ExportConfig(threshold=0.99))
    assert not (tmp_path / "release").exists()
    assert not queries.releases.releases(story.ws.session)


def test_the_manifest_walks_from_an_image_back_to_the_ratings(story: Any, tmp_path: Path) -> None:
    done = _export(story, tmp_path / "release")
    manifest = read_manifest(done.folder)
    image = next(i for i in manifest.images if i.version_id == story.versions[1].id)
    row = next(i for i in story.images.values() if i.item_key == image.item_key)
    assert (image.seed, image.settings, image.pixels_sha256) == (
        row.seed,
        row.settings,
        row.pixels_sha256,
    )
    assert image.prompt.text in ("drusen", "clear lungs")
    assert image.environment["torch"] == "2.15.0"
    version = manifest.raw["versions"][image.version_id]
    assert version["parent_id"] == story.versions[0].id in manifest.raw["versions"]
    assert version["round"]["number"] == 1 and version["files"]
    model = manifest.raw["reward_models"][version["round"]["reward_model_id"]]
    assert model["ratings_by_use"] == {"fitted": 6, "held-out": 2}
    assert model["metrics"]["held_out"]["ece"] is None  # infinite: JSON has no word for it
    ratings = _rows(done.folder / "ratings.csv")
    assert len(ratings) == 8 and {r["simulated"] for r in ratings} == {"True"}
    campaign = manifest.raw["campaigns"][ratings[0]["campaign_id"]]
    assert campaign["name"] == "loop-round-1" and campaign["simulated_raters"]
    assert campaign["criteria"][0]["wording"]["3"]
    assert "strict simulated rater" not in json.dumps(manifest.raw)  # raters have no name outside


def test_the_card_calls_simulated_ratings_simulated(story: Any, tmp_path: Path) -> None:
    import yaml

    done = _export(story, tmp_path / "release")
    card = (done.folder / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "other" and header["size_categories"] == ["n<1K"]
    assert "**No radiologist has judged these images.**" in card
    assert "Not for clinical use" in card
    assert (
        f"`{story.versions[1].id[:12]}`" in card
        and "| AUC, best-rated against worst-rated | 0.910 |" in card
    )
    assert f"kept | {done.num_kept} of 24 images" in card


def test_a_stated_licence_is_in_card_and_manifest(story: Any, tmp_path: Path) -> None:
    done = _export(story, tmp_path / "r", ExportConfig(threshold=0.35, licence="cc0-1.0"))
    assert 'license: "cc0-1.0"' in (done.folder / "README.md").read_text()
    assert read_manifest(done.folder).raw["licence"]["id"] == "cc0-1.0"


def test_a_damaged_file_of_the_store_is_not_exported(story: Any, tmp_path: Path) -> None:
    best = story.images[story.versions[1].id, 1, 5]
    path = story.ws.store.local_path(best.file_sha256)
    path.chmod(0o644)
    path.write_bytes(story.ws.store.get(story.images[story.versions[1].id, 1, 4].file_sha256))
    with pytest.raises(CurateError, match="damaged.*curate doctor"):
        _export(story, tmp_path / "release")
    assert os.listdir(tmp_path) == ["workspace"]


def export_and_die(workspace: Path, folder: Path, moment: str) -> None:
    """Export, and end by SIGKILL among the images or before the release's rows."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def dying(total: int, what: str) -> Iterator[Advance]:
        done = 0

        def advance(number: int) -> None:
            nonlocal done
            done += number
            if moment == "among the images" and what == "images written" and done == 3:
                die()

        yield advance

    if moment == "before the rows":
        publish._remember = die  # type: ignore[assignment]
    with open_workspace(workspace) as ws:
        export_release(ws, folder, CONFIG, dying)


@pytest.mark.parametrize("moment", ["among the images", "before the rows"])
@pytest.mark.slow
def test_a_killed_export_leaves_nothing_half_done_and_can_be_run_again(
    story: Any, tmp_path: Path, moment: str
) -> None:
    folder = tmp_path / "release"
    killed = ended(export_and_die, story.ws.folder, folder, moment)
    assert killed == -signal.SIGKILL
    assert folder.exists() == (moment == "before the rows")  # under its name it is whole
    assert not queries.releases.releases(story.ws.session)
    done = _export(story, folder)
    assert done.new == (moment == "among the images")
    assert read_manifest(folder).release_id == done.release_id
    assert queries.releases.has_release(story.ws.session, done.release_id)
    assert sorted(os.listdir(tmp_path)) == ["release", "workspace"]  # and no leftovers


def test_two_exports_at_once_both_end_whole(story: Any, tmp_path: Path) -> None:
    """The second begins and ends while the first writes its images."""
    releases: list[Exported] = []

    @contextmanager
    def interrupted_by_another(total: int, what: str) -> Iterator[Advance]:
        if what == "images written" and not releases:
            yield lambda number: None
            releases.append(_export(story, None, ExportConfig(threshold=0.5)))
        else:
            yield lambda number: None

    releases.append(export_release(story.ws, None, CONFIG, interrupted_by_another))
    assert len({done.release_id for done in releases}) == 2
    for done in releases:
        assert verify_release(done.folder, session=story.ws.session).ok
    assert not list((story.ws.folder / "releases").glob(".*"))  # and no leftovers


def test_what_was_written_badly_is_not_published(story: Any, tmp_path: Path) -> None:
    """A disk that loses a byte while the release is being written."""

    @contextmanager
    def losing_a_byte(total: int, what: str) -> Iterator[Advance]:
        yield lambda number: None
        if what == "images written":
            [image, *_] = tmp_path.glob(".release.partial-*/images/*/*.png")
            image.write_bytes(image.read_bytes()[:-1])

    with pytest.raises(CurateError, match="1 files of the release.*not as they were written"):
        export_release(story.ws, tmp_path / "release", CONFIG, losing_a_byte)
    assert os.listdir(tmp_path) == ["workspace"]
    assert not queries.releases.releases(story.ws.session)


def test_a_damaged_copy_of_a_release_is_not_taken_for_it(story: Any, tmp_path: Path) -> None:
    folder = _export(story, tmp_path / "release").folder
    (folder / "data.csv").unlink()
    with pytest.raises(CurateError, match="data.csv: no such file"):
        _export(story, folder)
