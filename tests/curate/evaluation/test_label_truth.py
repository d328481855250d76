from pathlib import Path

import pytest
import torch

from curate.evaluation.classifiers import ClassExamples, Classifier, _balanced, pixels_of
from curate.evaluation.intervals import difference_of_shares
from curate.evaluation.label_classifier import balanced_accuracy, cross_read, readable
from curate.evaluation.label_truth import (
    NOT_SHOWN,
    SHOWN,
    TOO_FEW,
    contradictions,
    label_truth,
)
from curate.evaluation.sets import ImageSet, SetImage, read_set
from rewards.backbones import Backbone, load_backbone
from tests.curate.evaluation.pictured import write_set

LINEAR = Classifier("linear")


@pytest.fixture(scope="module")
def network() -> Backbone:
    return load_backbone("features")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("real")
    table = write_set(folder / "real", {"disc": ("disc", 40), "bar": ("bar", 40)}, seed=1)
    return read_set(table, cache=folder / "cache")


def image(place: int, label: str, patient: str, modality: str = "OCT") -> SetImage:
    return SetImage(
        file_sha256=f"{place:064}",
        name=str(place),
        modality=modality,
        label=label,
        text="",
        patient=patient,
        seed=place % 3,
    )


def test_a_reader_tells_what_shows_on_patients_it_never_saw(
    real: ImageSet, network: Backbone
) -> None:
    read = cross_read(LINEAR, LINEAR.inputs(real, network), real.images)
    assert balanced_accuracy([i.label for i in real.images], read) > 0.9


def test_what_marks_a_patient_helps_no_reader() -> None:
    """Each patient has a mark, and labels follow nothing else: by image all would be read."""
    random = torch.Generator().manual_seed(0)
    marks = torch.randn(40, 64, generator=random)
    images = [image(n, "ab"[n // 4 % 2], f"p{n // 4}") for n in range(160)]
    inputs = marks[torch.arange(160) // 4] + 0.01 * torch.randn(160, 64, generator=random)
    by_patient = cross_read(LINEAR, inputs, images)
    lone = [image(n, i.label or "", f"p{n}") for n, i in enumerate(images)]
    by_image = cross_read(LINEAR, inputs, lone)
    labels = [i.label for i in images]
    assert balanced_accuracy(labels, by_image) > 0.85
    assert balanced_accuracy(labels, by_patient) < 0.7


def test_a_planted_empty_class_is_named_and_a_class_that_shows_is_not(
    real: ImageSet, network: Backbone, tmp_path: Path
) -> None:
    asked = {"disc": ("disc", 30), "bar": ("disc", 30)}  # bars were asked for, discs drawn
    made = read_set(write_set(tmp_path / "made", asked, seed=2), cache=tmp_path / "cache")
    honest = {"disc": ("disc", 30), "bar": ("bar", 30)}
    good = read_set(write_set(tmp_path / "good", honest, seed=3), cache=tmp_path / "cache")
    known = (LINEAR.inputs(real, network), real.images)
    truth = label_truth(LINEAR, known, (LINEAR.inputs(made, network), made.images))
    assert [found.label for found in truth.empty] == ["bar", "disc"]  # nobody can tell them apart
    read = {found.label: found.read.value for found in truth.classes}
    assert read["disc"] > 0.8 and read["bar"] < 0.2
    assert sum(count for *_, count in truth.confusion) == 60
    shown = label_truth(LINEAR, known, (LINEAR.inputs(good, network), good.images))
    assert [found.verdict for found in shown.classes] == [SHOWN, SHOWN] and shown.empty == []
    assert all(found.base_rate == pytest.approx(0.5) for found in shown.classes)


def test_few_images_are_no_evidence_that_a_label_does_not_show(
    real: ImageSet, network: Backbone
) -> None:
    inputs = LINEAR.inputs(real, network)
    few = [0, 1, 40, 41]  # two of each
    swapped = [image(n, "bar" if n < 2 else "disc", "p") for n in range(4)]
    mixed = torch.stack([inputs[0], inputs[40], inputs[1], inputs[41]])
    truth = label_truth(LINEAR, (inputs, real.images), (mixed, swapped))
    assert {found.verdict for found in truth.classes} == {TOO_FEW}
    many = label_truth(LINEAR, (inputs, real.images), (mixed.repeat(20, 1), swapped * 20))
    assert {found.verdict for found in many.classes} == {NOT_SHOWN}
    assert len(few) == len(mixed)


def test_a_label_without_patients_is_left_out_by_name() -> None:
    images = [image(n, "ab"[n % 2], f"p{n}") for n in range(20)]
    images += [image(20 + n, "rare", "one patient") for n in range(9)]
    images += [image(30 + n, "alone", f"q{n}", "CXR") for n in range(9)]
    labels, left_out = readable(images)
    assert labels == {"OCT": ("a", "b")}
    assert "1 real training patients" in left_out["OCT rare"]
    assert "no other label" in left_out["CXR alone"]


def test_a_planted_contradiction_is_found_named_and_its_seed_told(real: ImageSet) -> None:
    pixels = pixels_of(real)
    pixels = torch.cat([pixels, (pixels[:1] * 0.9 + 0.02)])  # another exposure of the first
    images = [*real.images, image(99, "bar", "p")]
    assert contradictions(pixels[:-1], real.images).pairs == ()  # type: ignore[union-attr]
    found = contradictions(pixels, images)
    assert found is not None and len(found.pairs) == 1
    assert {found.pairs[0].first.name, found.pairs[0].second.name} == {images[0].name, "99"}
    assert found.pairs[0].correlation > 0.999 and found.share.value == pytest.approx(2 / 81)
    same = [image(n, "ab"[n % 2], "p") for n in (3, 6)]
    of_one_seed = contradictions(pixels[[0, 0]], same)
    assert of_one_seed is not None and of_one_seed.num_of_one_seed == 1
    assert contradictions(pixels[:2], [image(n, "a", "p") for n in range(2)]) is None


def test_classes_weigh_the_same_whatever_their_numbers() -> None:
    examples = ClassExamples(torch.zeros(4, 1), torch.tensor([0, 0, 0, 1]))
    assert _balanced(examples, 2).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    weighted = ClassExamples(
        examples.inputs, examples.classes_N, torch.tensor([1.0, 1.0, 2.0, 1.0])
    )
    assert _balanced(weighted, 2).tolist() == pytest.approx([0.5, 0.5, 1, 2])


def test_a_difference_of_shares_has_newcombes_interval() -> None:
    """56 of 70 and 48 of 80: +0.2, 0.0524 to 0.3339 (Newcombe 1998, table II, method 10)."""
    found = difference_of_shares((56, 70), (48, 80))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@pytest.mark.slow
def test_a_small_network_learns_what_shows(real: ImageSet) -> None:
    pixels = pixels_of(real)
    classes_N = torch.tensor([int(i.label == "bar") for i in real.images])
    predict = Classifier("cnn", steps=25).fit(ClassExamples(pixels[::2], classes_N[::2]), 2, seed=0)
    right = predict(pixels[1::2]).argmax(1) == classes_N[1::2]
    assert right.double().mean() > 0.75
