"""MINIM's figures on pictures whose labels can be seen, and on features that know nothing."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cli import app
from curate.evaluation.figures import Side
from curate.evaluation.intervals import Estimate
from curate.evaluation.minim import _iir
from curate.evaluation.retrieval import ImageToText, chance_at_10, hits_at_10
from curate.evaluation.sets import FolderFiles, ImageSet, SetImage
from curate.importing.config import ImportConfig
from tests.curate.evaluation.pictured import write_set


def test_a_hit_is_any_of_the_ten_nearest_and_chance_is_that_of_a_lot() -> None:
    labels = ["a", "a", *"bbbbbbbbbb"]
    draws = list(combinations(range(12), 10))
    by_hand = np.mean([any(labels[at] == "a" for at in ten) for ten in draws])
    assert chance_at_10(["a"], labels) == pytest.approx(by_hand)
    assert chance_at_10(["a", "c"], labels) == pytest.approx(by_hand / 2)
    angles = torch.linspace(0, 1, 12)
    gallery = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert hits_at_10(gallery[[0, 11]], ["a", "a"], gallery, labels).tolist() == [True, False]


def test_texts_are_found_where_features_tell_them_apart_and_else_by_chance() -> None:
    random = torch.Generator().manual_seed(0)
    texts = [
        f"view {number // 5} with finding {number % 5}, side {number % 3}" for number in range(40)
    ]
    centres = torch.randn(40, 32, generator=random)
    learned = centres.repeat(6, 1) + 0.3 * torch.randn(240, 32, generator=random)
    unseen = centres.repeat(3, 1) + 0.3 * torch.randn(120, 32, generator=random)
    model = ImageToText(learned, texts * 6)
    assert model.found(unseen, texts * 3).mean() > 0.9
    shuffled = [texts[at] for at in torch.randperm(40, generator=random).tolist()]
    lost = ImageToText(learned, shuffled * 6).found(unseen, texts * 3).mean()
    assert 0.1 < lost < 0.45  # ten of 40 texts
    assert ImageToText(learned[:40], ["one text"] * 40).found(unseen, ["one text"] * 120).all()


def test_images_without_a_label_are_no_hits_for_each_other(tmp_path: Path) -> None:
    images = tuple(
        SetImage(
            file_sha256=str(n), name=str(n), modality="OCT", label="a" if n < 11 else None, text=""
        )
        for n in range(22)
    )
    made = ImageSet(name="made", images=images, store=FolderFiles(ImportConfig()), cache=tmp_path)
    features = torch.eye(22)
    alike = Side(made, features)
    found = _iir(alike, alike)
    assert isinstance(found, Estimate) and (found.value, found.num) == (1.0, 11)
    nameless = Side(made.of(lambda image: image.label is None), features[11:])
    assert _iir(nameless, alike) == "0 labelled images, 11 held out; over 10 are needed"


@pytest.mark.slow
def test_the_table_tells_a_set_that_shows_its_labels_from_one_that_does_not(tmp_path: Path) -> None:
    seen = {"disc": ("disc", 24), "bar": ("bar", 24)}
    real = write_set(tmp_path / "real", seen, seed=1)
    test = write_set(tmp_path / "test", seen, seed=2)
    good = write_set(tmp_path / "good", seen, seed=3)
    blind = {"disc": ("none", 24), "bar": ("none", 24)}
    bad = write_set(tmp_path / "bad", blind, seed=4)
    arguments = ["evaluate", "--table", "minim", "--real", str(real), "--test", str(test)]
    arguments += ["--synthetic", str(bad.parent), "--synthetic", str(good.parent)]
    arguments += ["--cache", str(tmp_path / "cache")]
    answer = CliRunner().invoke(app, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    table = json.loads(answer.stdout)["table"]
    assert table["sets"] == ["bad", "good"]
    rows = {row["name"]: row["figures"] for row in table["rows"]}
    assert list(rows) == [
        "Frechet distance",
        "IS",
        "MS-SSIM",
        "CAS top-1",
        "IIR top-10",
        "ITR top-10",
    ]
    worse, better = rows["CAS top-1"]
    assert better["low"] > 0.7 > worse["high"]
    assert rows["Frechet distance"][1]["value"] < rows["Frechet distance"][0]["value"]
    lines = CliRunner().invoke(app, arguments).stdout
    assert "bad -> good" in lines and "[chance 0.50]" in lines and " %" in lines
