"""What a release does about its labels: contradictions, and what a classifier reads."""

from collections.abc import Sequence
from uuid import uuid4

import numpy as np
import pytest

from curate.errors import CurateError
from curate.evaluation.label_classifier import teaches_filter
from curate.evaluation.sets import real_set
from curate.release.config import ExportConfig
from curate.release.contradictions import Twins, find_twins, twins_lines
from curate.release.label_check import BACKBONE, check_labels
from curate.release.splits import Member, split_by_group
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from db import queries
from db.models import Image
from db.queries.images import ScoredImage
from rewards.backbones import load_backbone
from rewards.frozen import load_eyes
from tests.curate.evaluation.pictured import picture


def offered(
    ws: Workspace, levels: Sequence[np.ndarray], labels: Sequence[str], **conditions: str
) -> list[ScoredImage]:
    """Return images of these pixels, the first scored best."""
    images = []
    for place, (array, label) in enumerate(zip(levels, labels, strict=True)):
        [sha] = queries.files.add_files(ws.session, ws.store, [(png_bytes(array), "image/png")])
        prompt = queries.prompts.get_or_add_prompt(
            ws.session, modality="OCT", text=label, label=label, conditions=conditions
        )
        images.append(
            ScoredImage(
                image_id=uuid4(),
                file_sha256=sha,
                pixels_sha256=pixels_hash(array),
                item_key=f"key {place}",
                prompt_id=prompt.id,
                modality="OCT",
                text=label,
                label=label,
                version_id="v",
                seed=0,
                settings_hash="s",
                score=1 - place / 10,
                spread=0.0,
            )
        )
    return images


def pictures() -> list[np.ndarray]:
    """Return two that are one but for a little light, and one of its own."""
    random = np.random.default_rng(0)
    one, other = picture("disc", random), picture("bar", random)
    return [one, (0.9 * one + 5).astype(np.uint8), other]


def test_of_nearly_equal_images_of_two_labels_the_better_leaves(workspace: Workspace) -> None:
    images = offered(workspace, pictures(), ["amd", "dme", "dme"])
    twins = find_twins(workspace, images)
    assert twins.against == (("key 0", "key 1"),) and twins.by_design == ()
    reason = "nearly equal to a better image of another label: key 0, amd"
    assert twins.worse(images) == {"key 1": reason}
    assert list(twins.worse(images[::-1])) == ["key 0"]
    alike = offered(workspace, pictures(), ["dme", "dme", "dme"])
    assert find_twins(workspace, alike) == Twins()


def test_an_image_that_goes_takes_no_other_with_it() -> None:
    chain = Twins((("a", "b"), ("b", "c")), (), {"a": "x", "b": "y", "c": "x"})
    images = [ScoredImage(uuid4(), k, k, k, k, "OCT", k, k, "v", 0, "s", 0.5, 0.1) for k in "abc"]
    assert set(chain.worse(images)) == {"b"}


def test_versions_of_one_condition_image_leave_together_in_one_split(workspace: Workspace) -> None:
    [sha] = queries.files.add_files(workspace.session, workspace.store, [(b"prior", "image/png")])
    images = offered(workspace, pictures(), ["amd", "dme", "dme"], prior=sha)
    twins = find_twins(workspace, images)
    assert twins.by_design == (("key 0", "key 1"),) and twins.worse(images) == {}
    assert "2 images are nearly equal" in twins_lines(twins)[0]
    shared = twins.groups()
    members = [
        Member(image.item_key, {image.item_key, *shared.get(image.item_key, ())})
        for image in images
    ]
    (first, second, third) = split_by_group(members, {"train": 0.5, "test": 0.5})
    assert first == second and first != third
    assert twins.among({"key 0", "key 2"}).groups() == {}


def real_images(ws: Workspace, asked: dict[str, str], *, patients: int = 24) -> None:
    random = np.random.default_rng(5)
    for label, kind in asked.items():
        prompt = queries.prompts.get_or_add_prompt(
            ws.session, modality="OCT", text=label, label=label
        )
        for number in range(patients):
            array = picture(kind, random)
            [sha] = queries.files.add_files(ws.session, ws.store, [(png_bytes(array), "image/png")])
            row = Image(
                file_sha256=sha,
                pixels_sha256=pixels_hash(array),
                origin="real",
                prompt_id=prompt.id,
                shape=[1, 64, 64],
                patient=f"{label}-{number}",
            )
            ws.session.add(row)
    ws.session.commit()


def test_a_label_that_is_not_in_the_picture_is_not_read(workspace: Workspace) -> None:
    real_images(workspace, {"disc": "disc", "bar": "bar"}, patients=50)
    random = np.random.default_rng(9)
    levels = [picture(kind, random) for kind in ["disc", "bar"] * 10]
    images = offered(workspace, levels, ["disc"] * 20)
    elsewhere = ScoredImage(
        **{**vars(images[0]), "modality": "CXR", "item_key": "cxr", "label": "x"}
    )
    checked = check_labels(workspace, [*images, elsewhere], 0.5)
    passed = [checked.reason(image) is None for image in images]
    assert sum(passed[::2]) >= 8 and sum(passed[1::2]) <= 2
    assert checked.accuracy["OCT"] > 0.8 and checked.chance == {"OCT": 0.5}
    assert checked.reason(elsewhere) is None and "CXR" in checked.unchecked
    assert any("labels of CXR unchecked" in line for line in checked.lines())
    assert checked.to_json()["least"] == 0.5


def test_a_label_check_near_chance_refuses_and_says_its_accuracy(workspace: Workspace) -> None:
    real_images(workspace, {"one": "disc", "other": "disc"})
    images = offered(workspace, pictures(), ["one"] * 3)
    with pytest.raises(CurateError, match=r"reads \d+ % of \d+ real OCT.*chance is 50 %"):
        check_labels(workspace, images, 0.5)


def test_what_filters_labels_is_not_what_measures_them(workspace: Workspace) -> None:
    """Role F: other patients and features than label truth's, than the eyes'."""
    real_images(workspace, {"disc": "disc", "bar": "bar"})
    seen = real_set(workspace, ("train", None)).images
    halves = [[i for i in seen if teaches_filter(i) is side] for side in (True, False)]
    patients = [{image.patient for image in half} for half in halves]
    assert patients[0] and patients[1] and not patients[0] & patients[1]
    filters, measures = load_backbone(BACKBONE), load_backbone("features")
    assert filters.fingerprint != measures.fingerprint
    assert load_eyes().identity not in (filters.fingerprint, measures.fingerprint)


def test_a_rule_that_was_not_asked_for_is_not_written() -> None:
    assert not {"quota", "contradictions", "label_check"} & ExportConfig().to_json().keys()
    config = ExportConfig(quota=5, contradictions="keep", label_check=0.5)
    assert ExportConfig.from_json(config.to_json()) == config
