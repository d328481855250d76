import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from cli import app
from curate.evaluation import downstream
from curate.evaluation.axes import matched
from curate.evaluation.sets import read_set
from curate.samples.pixels import png_bytes
from tests.curate.evaluation.pictured import picture, write_set, write_table

HONEST = {"disc": ("disc", 24), "bar": ("bar", 24)}


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Real images, held-out ones, and a set of which a tenth are training images again."""
    root = tmp_path_factory.mktemp("sides")
    train = write_set(root / "train", HONEST, seed=1)
    test = write_set(root / "test", HONEST, seed=2, split="test")
    made = write_set(root / "made", HONEST, seed=3, split="")
    for place, kind in enumerate(("disc", "bar", "disc", "bar", "disc")):
        copied = (train.parent / f"{kind}-{place}.png").read_bytes()
        (made.parent / f"{kind}-{place}.png").write_bytes(copied)
    return train, test, made


def test_two_tables_are_measured_along_every_axis(sides: tuple[Path, Path, Path]) -> None:
    train, test, made = sides
    asked = ("--real", train, "--test", test, "--synthetic", made, "--cache", made.parent / "c")
    code, output = run("evaluate", *asked, "--json")
    assert code == 0, output
    [found] = json.loads(output[output.index("{\n") :])["sets"]
    measures = {(m["axis"], m["name"], m["of"]): m["estimate"] for m in found["measures"]}
    assert "64 x 64 px" in found["network"] and "features" in found["network"]
    assert measures["fidelity", "precision", "OCT bar"]["num"] == 24
    assert measures["privacy", "memorised", "all"]["value"] >= 5 / 48
    assert measures["label-truth", "read as asked", "OCT disc"]["value"] > 0.8
    assert measures["retrieval", "IIR precision at 10", "OCT"]["value"] > 0.6
    assert measures["diversity", "MS-SSIM within prompts", "all"]["num"] == 2  # prompts
    assert found["label_truth"]["accuracies"][0][1] > 0.9
    [nearest, *_] = found["nearest_training_images"]
    assert nearest["distance"] < 1e-6  # one of the five that are training images again
    assert nearest["images"][0] in {f"{kind}-{at}.png" for at in range(5) for kind in HONEST}
    [disc] = [strip for strip in found["label_truth"]["strips"] if strip["label"] == "disc"]
    believed = [sure for _, _, sure in disc["images"]]
    assert len(believed) == 8 and believed == sorted(believed, reverse=True)
    code, output = run("evaluate", *asked, "--only", "privacy", "--by", "sex")
    assert code == 0 and "membership AUC" in output and "sex f" in output
    assert "fidelity" not in output and "classifier, 3 draws" not in output
    code, output = run("evaluate", *asked)
    assert code == 0 and "one axis by --only" in output
    told = [line for line in output.splitlines() if line.startswith("  fidelity")]
    assert told and all(" all " in line for line in told)  # no line for each class
    assert sum("read as asked" in line for line in output.splitlines()) == 2


def test_what_training_on_a_set_brings_is_part_of_its_evaluation(
    sides: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """The probe's figures are those of `curate utility classify` on the same images."""
    train, test, made = sides
    swapped = write_set(tmp_path / "bad", {"disc": ("bar", 24), "bar": ("disc", 24)}, seed=6)
    cache = ("--cache", tmp_path / "cache")
    asked = ("--real", train, "--test", test, "--synthetic", made, "--synthetic", swapped.parent)
    code, output = run("evaluate", *asked, *cache, "--only", "utility", "--json")
    assert code == 0, output
    found = json.loads(output[output.index("{\n") :])
    assert found["sets"] == [] and found["utility"]["missing"] == []
    [table] = found["utility"]["classifiers"]
    gains = {arm["arm"]: arm["gain"] for arm in table["arms"]}
    assert gains["5 real a class + 5x bad"]["high"] < -0.2
    assert gains["5 real a class + 5x data.csv"]["value"] > -0.05
    of = ("--real", train, "--test", test, "--release", made, "--release", swapped.parent)
    how = ("--per-class", "5,10,all", "--ratios", "1,5", "--draws", 3)
    code, output = run("utility", "classify", *of, *how, *cache, "--json")
    assert code == 0, output
    assert json.loads(output[output.index("{\n") :])["arms"] == table["arms"]


def test_a_full_evaluation_trains_networks_captioners_and_features_and_shows_all_three(
    sides: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each learns is tested where it is made; here a step or two must do."""
    monkeypatch.setattr(downstream, "PROBE", replace(downstream.PROBE, per_class="5", ratios="1"))
    for name, steps in (("NETWORK", 2), ("CAPTIONS", 2), ("WITHOUT_LABELS", 1)):
        short = replace(getattr(downstream, name), steps=steps, draws=1)
        monkeypatch.setattr(downstream, name, short)
    train, test, made = sides
    page = tmp_path / "page.html"
    cache = ("--cache", tmp_path / "cache", "--page", page)
    asked = ("--real", train, "--test", test, "--synthetic", made, *cache, "--only", "fidelity")
    code, output = run("evaluate", *asked, "--full", "--json")
    assert code == 0, output
    found = json.loads(output[output.index("{\n") :])["utility"]
    assert [table["model"].split()[0] for table in found["classifiers"]] == ["linear", "cnn"]
    assert {one["arm"] for one in found["captions"]["arms"]} >= {"real only", "reference"}
    assert "without labels (1 steps)" in found["self_supervised"]["model"]
    assert found["missing"] == []
    html = page.read_text()
    assert "cnn classifier" in html and "tiny captioner" in html and "densenet-tiny" in html


def test_the_page_has_the_figures_the_pictures_and_the_commands(
    sides: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    train, test, made = sides
    page = tmp_path / "page.html"
    asked = ("--real", train, "--test", test, "--synthetic", made, "--cache", tmp_path / "cache")
    code, output = run("evaluate", *asked, "--page", page)
    assert code == 0 and f"Page: {page}" in output.replace("\n", "")
    html = page.read_text()
    said = next(
        line for line in output.splitlines() if "membership AUC" in line and " all " in line
    )
    value = re.search(r"(\d\.\d{3}) \(", said)
    assert value is not None and value[1] in html
    assert "What was asked for, and what is read" in html and "<td>disc</td>" in html
    assert "real, at 0.000" in html  # the copies come first
    assert f"curate evaluate --real {train}" in html and "--only privacy" in html
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(pictures) == 2 * 8 + 2 * 8 + 2  # strips, pairs, two plots
    for encoded in pictures:
        PillowImage.open(io.BytesIO(base64.b64decode(encoded))).verify()
    assert "http" not in html.replace("http-equiv", "")


def test_what_cannot_be_measured_says_why_and_the_rest_goes_on(
    sides: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    train, _, _ = sides
    few = write_set(tmp_path / "few", {"disc": ("disc", 3)}, seed=5)
    (tmp_path / "few" / "torn.png").write_bytes(b"not a picture")
    with few.open("a") as table:
        table.write("torn.png,torn,OCT,disc,,,\nnone.png,none,OCT,disc,,,\n")
    code, output = run(
        "evaluate", "--real", train, "--synthetic", few, "--cache", tmp_path / "cache"
    )
    assert code == 0, output
    assert "3 and 48 real images; 10 of each are needed" in output
    assert "no held-out real images (--test)" in output
    assert "data.csv:5" in output and "data.csv:6: none.png" in output
    assert "read as asked" in output


def test_a_patient_on_both_sides_is_refused(sides: tuple[Path, Path, Path]) -> None:
    train, _, made = sides
    code, output = run("evaluate", "--real", train, "--test", train, "--synthetic", made)
    assert code == 1 and "patients have images among the training and the held-out" in output


def test_a_folder_of_labels_is_a_set_and_a_folder_without_images_is_none(tmp_path: Path) -> None:
    for name in ("OCT/amd/1.png", "OCT/normal/2.png"):
        file = tmp_path / "set" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(png_bytes(picture("disc", np.random.default_rng(len(name)))))
    found = read_set(tmp_path / "set", cache=tmp_path / "cache")
    assert [image.shown for image in found.images] == ["OCT amd", "OCT normal"]
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "missing"):
        code, output = run("evaluate", "--real", tmp_path / wrong, "--synthetic", tmp_path / "set")
        assert code == 1 and "folder of images" in output
    code, output = run("evaluate", "--real", tmp_path / "set")
    assert code == 2 and "go together" in output


def test_sets_are_compared_on_the_prompts_that_all_have(tmp_path: Path) -> None:
    first = write_set(tmp_path / "one", {"disc": ("disc", 3), "bar": ("bar", 2)}, seed=1)
    second = write_set(tmp_path / "two", {"disc": ("disc", 2), "none": ("none", 2)}, seed=2)
    sets = [read_set(table, cache=tmp_path) for table in (first, second)]
    kept, said = matched(sets)
    assert [[i.label for i in one.images] for one in kept] == [["disc"] * 2] * 2
    assert "1 prompts of all sets, 2 of 5" in said
    _, said = matched([sets[0], sets[1].of(lambda image: image.label == "none")])
    assert "share no prompt" in said


def test_features_that_are_no_numbers_name_the_network_and_the_image(
    sides: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    import torch
    from torch import nn

    from curate.errors import CurateError
    from curate.evaluation.classifiers import finite_features
    from rewards.backbones import Backbone

    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 3), torch.nan)

    made = read_set(sides[2], cache=tmp_path)
    with pytest.raises(CurateError, match="broken gives NaN .* of 48 of 48 images, as of disc-0"):
        finite_features(made, Backbone("broken", Broken(), 3))


def test_a_table_with_only_paths_is_a_set(tmp_path: Path) -> None:
    table = write_set(tmp_path / "set", {"disc": ("disc", 2)}, seed=1)
    table.write_text("path\ndisc-0.png\ndisc-1.png\n")
    found = read_set(table, cache=tmp_path)
    assert [(i.label, i.patient) for i in found.images] == [(None, None)] * 2
    write_table(tmp_path / "set", [])
    code, output = run("evaluate", "--real", table, "--synthetic", table)
    assert code == 1 and "no image to measure" in output


def test_a_table_is_found_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the documentation's commands name it: `--real train.csv`."""
    write_set(tmp_path / "real", {"drusen": ("disc", 2)}, seed=1)
    monkeypatch.chdir(tmp_path / "real")
    assert len(read_set(Path("data.csv"), cache=tmp_path / "cache").images) == 2
    monkeypatch.chdir(tmp_path)
    assert len(read_set(Path("real"), cache=tmp_path / "cache").images) == 2
