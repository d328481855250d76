"""The shipped networks as they are, without any real image."""

import ast
import inspect
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rewards import frozen
from rewards.errors import RewardError
from rewards.frozen import files, networks, train_features
from rewards.frozen.config import SHIPPED_SOURCES
from rewards.frozen.truth import Calibration, TruthNetwork

NAMES = ("eyes", "judge", "encoder", "features")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=["eyes", "judge"])
def truth_network(request: pytest.FixtureRequest) -> TruthNetwork:
    return frozen.load_eyes() if request.param == "eyes" else frozen.load_judge()


def test_every_modality_gets_a_truth_and_a_score_from_1_to_3(
    truth_network: TruthNetwork, images: Tensor
) -> None:
    asked = ["OCT", "Fundus", "CXR", "ChestCT", "BrainMRI"]
    assert truth_network.modalities == tuple(asked)
    truth = truth_network.truth(images, asked, [None] * 5)
    scores = truth_network.score(images, asked, [None] * 5)
    assert truth.shape == (5,) and truth.isfinite().all()
    assert scores.dtype == torch.int64 and set(scores.tolist()) <= {1, 2, 3}


def test_a_truth_network_is_known_by_the_hash_of_its_weights() -> None:
    eyes, judge = frozen.load_eyes(), frozen.load_judge()
    assert eyes.identity == files.file_hash(files.WEIGHTS / "eyes.safetensors")
    assert judge.identity != eyes.identity


def test_the_thresholds_part_the_truths_into_scores(
    truth_network: TruthNetwork, images: Tensor
) -> None:
    low, high = truth_network.thresholds
    assert low < high
    truth = truth_network.truth(images, ["CXR"] * 5, [None] * 5)
    expected = [1 + (t >= low) + (t >= high) for t in truth.tolist()]
    assert truth_network.score(images, ["CXR"] * 5, [None] * 5).tolist() == expected


def test_an_unknown_finding_is_ignored_and_a_measurable_one_counts(
    truth_network: TruthNetwork, images: Tensor
) -> None:
    none = truth_network.truth(images, ["OCT"] * 5, [None] * 5)
    assert torch.equal(none, truth_network.truth(images, ["OCT"] * 5, ["no such finding"] * 5))
    label = truth_network.labels["OCT"][0]
    assert (truth_network.truth(images, ["OCT"] * 5, [label] * 5) < none).all()


def test_an_unknown_modality_is_refused_with_the_known_ones(
    truth_network: TruthNetwork, images: Tensor
) -> None:
    with pytest.raises(RewardError, match="'BreastMRI'.*OCT, Fundus, CXR"):
        truth_network.truth(images[:1], ["BreastMRI"], [None])


def test_the_truth_can_be_climbed_in_the_image_but_the_network_stays_frozen(
    truth_network: TruthNetwork, images: Tensor
) -> None:
    climbing = images.clone().requires_grad_()
    truth_network.truth(climbing, ["CXR"] * 5, [None] * 5).sum().backward()
    assert climbing.grad is not None and climbing.grad.abs().sum(dim=(1, 2, 3)).min() > 0
    assert not any(p.requires_grad for p in truth_network.parameters())
    stepped = (
        images + 0.2 * climbing.grad / climbing.grad.flatten(1).norm(dim=1)[:, None, None, None]
    )
    with torch.no_grad():
        before = truth_network.truth(images, ["CXR"] * 5, [None] * 5)
        after = truth_network.truth(stepped, ["CXR"] * 5, [None] * 5)
    assert (after > before).all()


def test_an_image_of_any_size_is_seen_as_its_central_square_of_64_pixels(
    truth_network: TruthNetwork,
) -> None:
    ramp = torch.linspace(0, 1, 128)[None, None, None, :].expand(1, 3, 128, 128)
    wide = torch.cat([torch.zeros(1, 3, 128, 32), ramp, torch.ones(1, 3, 128, 32)], dim=3)
    small = torch.nn.functional.avg_pool2d(ramp, 2)
    truths = [truth_network.truth(x, ["CXR"], [None]).item() for x in (wide, small)]
    assert truths[0] == pytest.approx(truths[1], abs=0.1)


def test_features_come_for_any_size_and_the_same_for_an_image_in_any_company(
    images: Tensor,
) -> None:
    for network in (frozen.load_encoder(), frozen.load_features()):
        together = network(images)
        assert together.shape == (5, network.dim)
        assert torch.allclose(network(images[2:3])[0], together[2], atol=1e-4)
        assert network(torch.rand(2, 3, 90, 130)).shape == (2, network.dim)
        assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_opening_a_network_twice_gives_equal_answers(images: Tensor) -> None:
    for load in (frozen.load_encoder, frozen.load_features):
        assert torch.equal(load()(images), load()(images))


def test_all_four_together_are_small() -> None:
    assert sum(files.read_about(name)["num_weights"] for name in NAMES) <= 2_000_000
    assert sum(path.stat().st_size for path in files.WEIGHTS.glob("*.safetensors")) <= 4_000_000
    for name in NAMES:
        assert files.num_weights(files.read_tensors(name)) == files.read_about(name)["num_weights"]


def test_the_files_are_the_ones_whose_hashes_were_recorded() -> None:
    recorded = files.read_hashes()
    assert set(recorded) == {path.name for path in files.WEIGHTS.glob("*.safetensors")}
    assert {name: files.file_hash(files.WEIGHTS / name) for name in recorded} == recorded


def test_a_missing_file_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "WEIGHTS", tmp_path)
    with pytest.raises(RewardError, match="judge.safetensors.*install it again"):
        frozen.load_judge()


def test_eyes_and_judge_learned_from_different_patients() -> None:
    eyes, judge = files.read_about("eyes"), files.read_about("judge")
    assert len(eyes["trained_on"]) > 100 and len(judge["trained_on"]) > 100
    assert not set(eyes["trained_on"]) & set(judge["trained_on"])


def test_no_two_networks_share_an_architecture_or_a_weight() -> None:
    architectures = {files.read_about(name)["architecture"] for name in NAMES}
    assert len(architectures) == len(NAMES)
    for one, other in itertools.combinations(NAMES, 2):
        for a in files.read_tensors(one).values():
            for b in files.read_tensors(other).values():
                if a.numel() > 64 and a.numel() == b.numel():
                    assert not torch.equal(a.flatten(), b.flatten()), (one, other)


def test_encoder_and_feature_network_have_not_learned_labels() -> None:
    for name in ("encoder", "features"):
        targets = " ".join(files.read_about(name)["targets"])
        assert "modality" not in targets and "finding" not in targets
    tree = ast.parse(inspect.getsource(train_features))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not read & {"modality", "label", "patient", "source"}


def test_train_features_ship_with_the_distances_of_val_images() -> None:
    known = networks.train_features()
    about = files.read_about("train_features")
    assert known.features.shape == (len(about["images"]), frozen.load_features().dim)
    assert known.val_to_train.shape == (about["num_val"],)
    assert known.val_to_train.min() > 0
    own = frozen.nearest_distances(known.features[:7], known.features)
    assert own.max() < 1e-2  # each is its own nearest


def test_nearest_distance_is_euclidean_between_unit_vectors() -> None:
    queries = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    distances = frozen.nearest_distances(queries, torch.tensor([[1.0, 0.0], [-3.0, 0.0]]))
    assert distances.tolist() == pytest.approx([0.0, 2**0.5], abs=1e-6)


def test_card_and_licence_name_every_source_and_every_network() -> None:
    card = (files.WEIGHTS / "MODEL_CARD.md").read_text(encoding="utf-8")
    licence = (files.WEIGHTS / "LICENSE.md").read_text(encoding="utf-8")
    assert "Creative Commons Attribution 4.0 International" in licence
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in licence
    for source in SHIPPED_SOURCES:
        assert source in licence
    for name in NAMES:
        assert f"`{name}`" in card
        assert files.read_about(name)["licence"] == "CC-BY-4.0"
        assert set(files.read_about(name)["sources"]) <= set(SHIPPED_SOURCES)


def test_with_thresholds_of_its_own_each_criterion_is_graded_and_unjudged_findings_are_blank(
    truth_network: TruthNetwork, images: Tensor
) -> None:
    shipped = truth_network.calibration
    assert shipped.shows_asked and truth_network.criteria == ("looks-real", "shows-asked")
    truth_network.calibration = replace(shipped, looks_real=None)  # as those of 0.2.0
    assert not truth_network.criteria
    finding = next(f for f in truth_network.findings if f.modality == "OCT")
    judged = f"OCT: {finding.label}"
    calibration = replace(
        truth_network.calibration, looks_real=(-4.0, -1.0), shows_asked={judged: (-2.0, -0.5)}
    )
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration
    truth_network.calibration = calibration
    asked = ["OCT", "OCT", "CXR", "CXR", "OCT"], [finding.label, None, None, "normal", "no such"]
    parts = truth_network.parts(images, *asked)
    grades = truth_network.grades(images, *asked)
    usual = torch.tensor([calibration.usual[0 if m == "OCT" else 2] for m in asked[0]])
    looks_real = 3.0 * parts.plausibility + parts.modality - usual
    torch.testing.assert_close(grades["looks-real"], (looks_real + 4.0) / 3.0)
    torch.testing.assert_close(truth_network.looks_real(images, asked[0]), looks_real)
    assert grades["shows-asked"].isnan().tolist() == [False, True, True, True, True]
    assert grades["shows-asked"][0].item() == pytest.approx((parts.finding[0].item() + 2.0) / 1.5)
    for real, shown, good in [(-99.0, -99.0, True), (99.0, -99.0, False), (-99.0, 0.5, False)]:
        # ends of the top grade that every image reaches, or none does
        truth_network.calibration = replace(
            calibration, looks_real=(real - 1, real), shows_asked={judged: (shown - 1, shown)}
        )
        expected = [good] + [real < 0] * 4  # a finding that nobody judges counts against none
        assert truth_network.is_good(images, *asked).tolist() == expected
