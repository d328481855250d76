"""How the frozen networks are taught: views, corruptions, losses and halves, on made-up images."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from recipes.frozen_networks.calibrate import balanced_accuracies, calibrate, finding_thresholds
from recipes.frozen_networks.measure import spearman
from recipes.frozen_networks.train_self_supervised import (
    FeatureTask,
    simclr_loss,
    train_from_pixels,
    vicreg_loss,
)
from recipes.frozen_networks.train_truth import findings_of, train_truth
from rewards.errors import RewardError
from rewards.frozen.architectures import ResidualNetwork
from rewards.frozen.config import SIDE, TRUTH_SIDE, TrainingSettings, canvas_of
from rewards.frozen.corruptions import KINDS, corrupt, corrupt_one_way, gaussian_blur
from rewards.frozen.data import RealImage, central_squares, read_images, split_by_patient, to_side
from rewards.frozen.truth import Calibration, Finding, TruthNetwork, TruthParts
from rewards.frozen.views import real_views


def made_up_image(
    index: int, modality: str = "OCT", label: str = "amd", side: int = SIDE
) -> RealImage:
    shape = canvas_of(side), canvas_of(side) + 9, 3
    pixels = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
    return RealImage(pixels, modality, label, f"patient {index}", f"{modality} source")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def squares(generator: torch.Generator) -> Tensor:
    return torch.rand(6, 3, SIDE, SIDE, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_grows_with_its_strength_and_stays_in_range(
    kind: str, squares: Tensor
) -> None:
    smooth = gaussian_blur(squares, torch.full((6,), 1.5))  # fine detail, but not only noise
    partners = smooth.roll(1, dims=0)
    distances = []
    for strength in (0.2, 0.5, 1.0):
        same_draw = torch.Generator().manual_seed(1)
        spoiled = corrupt_one_way(smooth, partners, kind, strength, same_draw)
        assert spoiled.shape == smooth.shape and 0 <= spoiled.min() and spoiled.max() <= 1
        distances.append((spoiled - smooth).abs().mean().item())
    assert 0 < distances[0] < distances[1] < distances[2]


def test_blur_agrees_with_torchvision(squares: Tensor) -> None:
    ours = gaussian_blur(squares, torch.tensor([0.5, 0.8, 1.0, 1.3, 1.7, 2.0]))
    for place, sigma in ((0, 0.5), (2, 1.0), (5, 2.0)):
        theirs = transforms.gaussian_blur(squares[place], [15, 15], [sigma, sigma])
        assert torch.allclose(ours[place], theirs, atol=1e-5)


def test_corruption_is_repeated_by_the_same_generator_and_named(squares: Tensor) -> None:
    first, again = (
        corrupt(squares, squares.flip(0), torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first.images, again.images)
    assert first.kinds.max() < len(KINDS) and first.severities.min() > 0


@pytest.mark.parametrize("side", [SIDE, TRUTH_SIDE])
def test_a_real_view_is_a_square_in_range_and_differs_from_the_next(
    generator: torch.Generator, side: int
) -> None:
    canvases = [made_up_image(k, side=side).pixels for k in range(4)]
    views, others = real_views(canvases, generator), real_views(canvases, generator)
    assert views.shape == (4, 3, side, side) and 0 <= views.min() and views.max() <= 1
    assert not torch.equal(views, others)


def test_to_side_takes_the_central_square(squares: Tensor) -> None:
    padded = torch.nn.functional.pad(squares, (10, 10, 0, 0))
    assert torch.equal(to_side(padded), squares)
    assert to_side(torch.rand(1, 3, 200, 150)).shape == (1, 3, SIDE, SIDE)
    assert to_side(padded, TRUTH_SIDE).shape == (6, 3, TRUTH_SIDE, TRUTH_SIDE)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"coarse", "blocks"}))  # these go by pixels
def test_a_fault_of_one_strength_looks_alike_on_a_larger_canvas(kind: str) -> None:
    small = torch.nn.functional.interpolate(
        torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(2)),
        (SIDE, SIDE),
        mode="bicubic",
    ).clamp(0, 1)
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    changes = []
    for images in (small, large):
        same_draw = torch.Generator().manual_seed(1)
        spoiled = corrupt_one_way(images, images.roll(1, dims=0), kind, 0.6, same_draw)
        changes.append(float((spoiled - images).abs().mean()))
    assert changes[1] == pytest.approx(changes[0], rel=0.35)


@pytest.mark.parametrize("side", [SIDE, TRUTH_SIDE])
def test_central_squares_are_the_middle_of_the_canvas(side: int) -> None:
    canvas = canvas_of(side)
    pixels = np.zeros((canvas, 2 * canvas, 3), dtype=np.uint8)
    pixels[:, canvas // 2 : canvas // 2 + canvas] = 255
    image = RealImage(pixels, "OCT", "amd", "p", "s")
    squares = central_squares([image])
    assert squares.shape == (1, 3, side, side) and squares.min() == 1


def test_halves_share_no_patient_and_no_finding_is_missing_in_one() -> None:
    images = [made_up_image(k // 2, label=("amd", "normal")[k % 4 // 2]) for k in range(24)]
    halves = split_by_patient(images)
    patients = [{images[place].patient for place in half} for half in halves]
    labels = [{images[place].label for place in half} for half in halves]
    assert not patients[0] & patients[1] and len(halves[0]) == len(halves[1]) == 12
    assert labels[0] == labels[1] == {"amd", "normal"}
    assert split_by_patient(images) == halves


def test_only_findings_with_a_rival_in_their_source_are_told_apart() -> None:
    images = [made_up_image(0), made_up_image(1, label="normal"), made_up_image(2, "CXR", "covid")]
    assert [f.label for f in findings_of(images)] == ["amd", "normal"]


def test_balanced_accuracy_weighs_rare_and_common_findings_alike() -> None:
    findings = [Finding("OCT", "amd", "OCT source"), Finding("OCT", "normal", "OCT source")]
    images = [made_up_image(k, label="amd" if k == 0 else "normal") for k in range(5)]
    always_normal = torch.tensor([[0.0, 1.0]]).repeat(5, 1)
    assert balanced_accuracies(findings, always_normal, images)["OCT: amd"] == 0.5


def test_simclr_loss_of_perfect_pairs_is_what_arithmetic_says() -> None:
    views = torch.eye(3).repeat(2, 1)  # three images, both views alike, others at right angles
    expected = -5 + math.log(math.exp(5) + 4)  # temperature 0.2; each has 4 others
    assert simclr_loss(views).item() == pytest.approx(expected, rel=1e-4)


def test_vicreg_loss_charges_collapse_and_difference() -> None:
    collapsed = torch.zeros(8, 4)
    assert vicreg_loss(collapsed, collapsed).item() == pytest.approx(0.5 * 2 * (1 - 0.01), rel=1e-4)
    assert vicreg_loss(collapsed, collapsed + 1) > vicreg_loss(collapsed, collapsed)


def test_spearman_is_one_for_any_rising_function() -> None:
    values = torch.tensor([0.3, -2.0, 5.0, 1.0])
    assert spearman(values, values.exp()) == pytest.approx(1)
    assert spearman(values, -values) == pytest.approx(-1)


def test_a_step_of_training_moves_the_weights_and_freezes_ordered_thresholds() -> None:
    images = [made_up_image(k, ("OCT", "CXR")[k % 2], ("a", "b")[k // 2 % 2]) for k in range(8)]
    torch.manual_seed(0)
    network = TruthNetwork(ResidualNetwork(), ResidualNetwork.dim, findings_of(images))
    before = copy.deepcopy(network.state_dict())
    trained = train_truth(network, images, TrainingSettings(2, num_pairs=4), lambda line: None)
    changed = [not torch.equal(before[k], v) for k, v in trained.state_dict().items()]
    assert sum(changed) > 0.9 * len(changed) and not trained.training
    calibration, _ = calibrate(trained, images, images)
    assert calibration.thresholds[0] < calibration.thresholds[1]
    assert calibration.looks_real is not None
    assert calibration.looks_real[0] < calibration.looks_real[1]


def test_a_finding_is_judged_only_where_one_threshold_keeps_right_and_parts_wrong() -> None:
    images = [made_up_image(k, label=("amd", "normal")[k % 2]) for k in range(40)]
    torch.manual_seed(0)
    network = TruthNetwork(ResidualNetwork(), ResidualNetwork.dim, findings_of(images)).eval()
    network.calibration = Calibration(measurable=(True, True))
    shows = {"OCT: amd": 0.9, "OCT: normal": 0.6}
    truth = {}

    def parts(pixels: Tensor, modalities: list[str], labels: list[str]) -> TruthParts:
        wanted = torch.tensor([image.label == labels[0] for image in images])
        truth[labels[0]] = torch.where(wanted, -0.1, -3.0)
        return TruthParts(torch.zeros(40), torch.zeros(40), truth[labels[0]])

    network.parts = parts  # type: ignore[method-assign, assignment]
    found = finding_thresholds(network, images, shows)
    assert list(found) == ["OCT: amd"]  # the other is told at less than 0.75
    low, high = found["OCT: amd"]
    grades = 1 + (truth["amd"] >= low).long() + (truth["amd"] >= high).long()
    asked = torch.tensor([image.label == "amd" for image in images])
    assert (grades[asked] == 3).all() and (grades[~asked] < 3).all() and low < high


def test_features_learn_from_pixels_to_know_an_image_again() -> None:
    canvases = [made_up_image(k).pixels for k in range(6)]
    torch.manual_seed(0)
    task = FeatureTask(ResidualNetwork(), ResidualNetwork.dim)
    losses: list[str] = []
    settings = TrainingSettings(2, num_pairs=6)
    backbone = train_from_pixels(task, canvases, settings, losses.append)
    assert backbone(torch.rand(2, 3, SIDE, SIDE)).shape == (2, ResidualNetwork.dim)
    assert losses and not backbone.training


def test_a_folder_without_a_table_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(RewardError, match="No data.csv in"):
        read_images(tmp_path_factory.mktemp("empty"), split="val")
