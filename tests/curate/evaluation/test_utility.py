import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from cli import app
from curate.errors import CurateError
from curate.evaluation.config import UtilityConfig
from curate.evaluation.sets import FolderFiles, ImageSet, SetImage
from curate.evaluation.utility import Outcome, Utility, measure_utility, numbers_of
from curate.evaluation.utility_sides import UtilitySides
from curate.importing.config import ImportConfig
from curate.progress import Advance
from curate.samples.features import keep_features
from rewards.backbones import Backbone
from tests.curate.evaluation.pictured import write_set

NETWORK = Backbone("numbers", nn.Identity(), 8)
CENTRES = 0.8 * torch.eye(8)[:3]
CONFIG = UtilityConfig(per_class="5", ratios="4", draws=4)


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


def set_of(folder: Path, name: str, per_class: int, *, seed: int, wrong: float = 0) -> ImageSet:
    """Three classes of one modality whose features lie around a centre each.

    A share `wrong` shows the next class instead of the one that was asked for.
    """
    random = torch.Generator().manual_seed(seed)
    images, features = [], {}
    for number in range(3 * per_class):
        label = number % 3
        shows = (label + 1) % 3 if number // 3 < wrong * per_class else label
        sha = f"{seed:032}{number:032}"
        features[sha] = CENTRES[shows] + 0.5 * torch.randn(8, generator=random)
        images.append(
            SetImage(
                file_sha256=sha,
                name=sha,
                modality="OCT",
                label="abc"[label],
                text="",
                patient=f"{seed}-{number // 6}",
            )
        )
    made = ImageSet(
        name=name, images=tuple(images), store=FolderFiles(ImportConfig()), cache=folder
    )
    keep_features(made, NETWORK, features)
    return made


def measured(folder: Path, *sets: ImageSet, config: UtilityConfig = CONFIG) -> Utility:
    train, test = set_of(folder, "train", 20, seed=1), set_of(folder, "test", 60, seed=2)
    return measure_utility(UtilitySides(train, test, sets, ()), NETWORK, config, _silent)


def arm(found: Utility, of: str, how: str = "") -> Outcome:
    [one] = [o for o in found.outcomes if (o.arm.of, o.arm.how) == (of, how)]
    return one


def test_real_images_of_other_patients_help_and_copies_do_not(tmp_path: Path) -> None:
    """The positive control and the control of numbers."""
    found = measured(tmp_path, set_of(tmp_path, "others", 40, seed=3))
    gain, copies = arm(found, "others").gain, arm(found, "copies of the real ones").gain
    assert gain is not None and gain.low > 0
    assert copies is not None and copies.low <= 0 <= copies.high
    assert arm(found, "others").num_synthetic == arm(found, "copies of the real ones").num_synthetic
    only = arm(found, "others", "synthetic only")
    assert only.gain is None and only.num_synthetic == 120
    assert only.accuracy.low < only.accuracy.value < only.accuracy.high


def test_labels_that_do_not_show_harm_and_the_check_takes_the_harm_away(tmp_path: Path) -> None:
    wrong = set_of(tmp_path, "wrong", 60, seed=4, wrong=0.7)
    found = measured(tmp_path, wrong)
    as_is, checked = arm(found, "wrong"), arm(found, "wrong", "label-checked")
    assert as_is.gain is not None and as_is.gain.high < 0
    assert checked.accuracy.value > as_is.accuracy.value
    [difference] = [d for name, _, d in found.differences if "label-checked" in name]
    assert difference.low > 0
    assert difference.value == pytest.approx(checked.accuracy.value - as_is.accuracy.value)


def test_synthetic_images_of_no_information_leave_a_classifier_at_chance(tmp_path: Path) -> None:
    noise = set_of(tmp_path, "noise", 60, seed=5)
    random = torch.Generator().manual_seed(9)
    features = {sha: torch.randn(8, generator=random) for sha in noise.hashes}
    keep_features(noise, NETWORK, features)
    only = arm(measured(tmp_path, noise), "noise", "synthetic only")
    assert abs(only.accuracy.value - 1 / 3) < 0.12 and abs(only.auc - 0.5) < 0.12


def test_with_all_real_images_the_interval_still_has_the_width_of_the_test(tmp_path: Path) -> None:
    config = UtilityConfig(per_class="all", ratios="1", draws=2)
    accuracy = arm(measured(tmp_path, config=config), "").accuracy
    assert accuracy.high - accuracy.low > 0.05


def test_what_was_trained_before_a_stop_is_not_trained_again(tmp_path: Path) -> None:
    made = set_of(tmp_path, "made", 20, seed=6)
    first = measured(tmp_path, made)
    results = sorted((tmp_path / "results").rglob("*.json"))
    assert len(results) == len(first.outcomes) * CONFIG.draws
    results[0].write_text("{torn")
    results[1].unlink()
    marked = json.loads(results[2].read_text())
    before = {path: path.stat().st_mtime_ns for path in results[2:]}
    assert measured(tmp_path, made) == first
    assert {path: path.stat().st_mtime_ns for path in results[2:]} == before
    assert json.loads(results[2].read_text()) == marked


def testnumbers_of_are_read_and_nonsense_is_refused() -> None:
    assert numbers_of("5, 10,all") == (5, 10, 0)
    for wrong in ("", "5,-1", "x", "1.5"):
        with pytest.raises(CurateError, match="whole numbers"):
            numbers_of(wrong)


def test_the_command_measures_two_folders_and_refuses_patients_it_learned_from(
    tmp_path: Path,
) -> None:
    shapes = {"disc": ("disc", 8), "bar": ("bar", 8)}
    real = write_set(tmp_path / "real", {**shapes, "rare": ("none", 2)}, seed=1)
    test = write_set(tmp_path / "test", shapes, seed=2)
    write_set(tmp_path / "made", {**shapes, "bar": ("bar", 1)}, seed=3)
    asked = ["utility", "classify", "--real", str(real), "--cache", str(tmp_path / "cache")]
    asked += ["--per-class", "3", "--ratios", "1", "--draws", "2", "--json"]
    asked += ["--release", str(tmp_path / "made")]
    result = CliRunner().invoke(app, [*asked, "--test", str(test)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["tasks"] == ["OCT"] and len(found["arms"]) == 6
    notes = " ".join(found["notes"])
    assert "OCT rare: no test image" in notes and "made, OCT bar: 1 synthetic images" in notes
    assert "whether a generator saw test patients cannot be told" in notes
    refused = CliRunner().invoke(app, [*asked, "--test", str(real)])
    assert refused.exit_code == 1 and "test patients stand among the training" in refused.output


def test_a_test_patient_in_the_generators_lineage_is_refused(
    tmp_path: Path, _empty_workspace: Path
) -> None:
    import shutil

    folder = tmp_path / "workspace"
    shutil.copytree(_empty_workspace, folder)
    shapes = {"disc": ("disc", 4), "bar": ("bar", 4)}
    seen = write_set(tmp_path / "seen", shapes, seed=2)
    real = write_set(tmp_path / "real", shapes, seed=1)
    imported = CliRunner().invoke(app, ["import", str(seen), "-w", str(folder)])
    assert imported.exit_code == 0, imported.output
    asked = ["utility", "classify", "--real", str(real), "--test", str(seen), "-w", str(folder)]
    result = CliRunner().invoke(app, [*asked, "--cache", str(tmp_path / "cache")])
    assert (
        result.exit_code == 1 and "test patients stand in the generator's lineage" in result.output
    )
