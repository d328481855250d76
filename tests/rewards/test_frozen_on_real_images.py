"""The three rates that make the simulated raters and the judge worth asking, on real val images.

The images do not come with the project: `CURATE_DATA` names the folder with data.csv; without it a
folder `shared/data/medical` beside the project is used if it is there.
"""

import os
from pathlib import Path

import pytest
import torch

from recipes.frozen_networks.calibrate import truths
from recipes.frozen_networks.measure import (
    score_shares,
    spearman,
    spoiled_sets,
    wrong_modality_truths,
)
from recipes.set_aside import SET_ASIDE, is_set_aside
from rewards import frozen
from rewards.frozen.config import TRUTH_SIDE
from rewards.frozen.data import RealImage, central_squares, patient_hash, read_images
from rewards.frozen.files import read_about
from rewards.frozen.truth import SHOWS_ASKED, TruthNetwork

DEFAULT = Path(__file__).parents[3] / "shared" / "data" / "medical"
BLUR, NOISE = "blur 1.0 px", "noise 0.06"  # what raters must not miss, at 64 pixels


@pytest.fixture(scope="module")
def folder() -> Path:
    folder = Path(os.environ.get("CURATE_DATA", DEFAULT))
    if not (folder / "data.csv").is_file():
        pytest.skip("no real images here: set CURATE_DATA to the folder that holds data.csv")
    return folder


@pytest.fixture(scope="module")
def val(folder: Path) -> list[RealImage]:
    return read_images(folder, split="val", side=TRUTH_SIDE)


@pytest.fixture(scope="module")
def spoiled(val: list[RealImage]) -> dict[str, torch.Tensor]:
    return spoiled_sets(central_squares(val), strengths=(0.5,))


@pytest.fixture(scope="module", params=["eyes", "judge"])
def network(request: pytest.FixtureRequest) -> TruthNetwork:
    return frozen.load_eyes() if request.param == "eyes" else frozen.load_judge()


def test_most_real_images_get_the_best_score(network: TruthNetwork, val: list[RealImage]) -> None:
    assert score_shares(network, truths(network, val))[2] >= 0.8


def test_few_real_images_pass_as_another_modality(
    network: TruthNetwork, val: list[RealImage]
) -> None:
    assert score_shares(network, wrong_modality_truths(network, val))[2] <= 0.1


@pytest.mark.parametrize("how", [BLUR, NOISE])
def test_few_spoiled_images_pass(
    network: TruthNetwork, val: list[RealImage], spoiled: dict[str, torch.Tensor], how: str
) -> None:
    assert score_shares(network, truths(network, val, spoiled[how]))[2] <= 0.2


@pytest.mark.slow
def test_eyes_and_judge_rank_images_alike(
    val: list[RealImage], spoiled: dict[str, torch.Tensor]
) -> None:
    eyes, judge = frozen.load_eyes(), frozen.load_judge()
    few = slice(None, None, 3)  # of each kind of damage
    seen = [
        torch.cat([truths(n, val[few], x[few]) for x in spoiled.values()]) for n in (eyes, judge)
    ]
    assert spearman(*seen) >= 0.8


def test_val_patients_taught_no_network(val: list[RealImage]) -> None:
    hashes = {patient_hash(image.patient) for image in val}
    for name in ("eyes", "judge", "encoder", "features"):
        assert not hashes & set(read_about(name)["trained_on"])


def test_patients_set_aside_taught_neither_raters_nor_judge() -> None:
    for name in ("eyes", "judge"):
        assert not SET_ASIDE & set(read_about(name)["trained_on"])


@pytest.mark.parametrize("name", ["eyes", "judge"])
def test_findings_are_graded_right_on_the_patients_set_aside(name: str, folder: Path) -> None:
    """They taught neither network and set none of its thresholds."""
    network = frozen.load_eyes() if name == "eyes" else frozen.load_judge()
    train = read_images(folder, split="train", side=TRUTH_SIDE)
    aside = [image for image in train if is_set_aside(image.patient)]
    tops: dict[bool, list[bool]] = {True: [], False: []}
    for finding in network.findings:
        if f"{finding.modality}: {finding.label}" not in network.calibration.shows_asked:
            continue
        images = [image for image in aside if image.source == finding.source]
        asked = [finding.modality] * len(images), [finding.label] * len(images)
        with torch.no_grad():
            grades = network.grades(central_squares(images), *asked)[SHOWS_ASKED]
        for image, grade in zip(images, grades.tolist(), strict=True):
            tops[image.label == finding.label].append(grade >= 1)
    right, wrong = (sum(tops[k]) / len(tops[k]) for k in (True, False))
    assert len(tops[True]) >= 40
    assert right >= 0.7 and wrong <= 0.2


def test_the_distances_that_ship_are_those_of_these_images(folder: Path) -> None:
    known = frozen.train_features()
    val = read_images(folder, split="val")  # on the canvas of the network that they were made with
    with torch.no_grad():
        features = frozen.load_features()(central_squares(val))
    distances = frozen.nearest_distances(features, known.features)
    assert torch.allclose(distances, known.val_to_train, atol=2e-3)
