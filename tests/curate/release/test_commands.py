"""The commands on images that a real, tiny generator made: they can be made again bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import cli
from curate.release.prove import verify
from curate.workspace import Workspace, init_workspace
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from tests.curate.evaluation.pictured import write_set
from tests.curate.generated import add_scored_images


@pytest.fixture
def made(workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path) -> Workspace:
    """Six images of a saved tiny generator, scored as a reward model might."""
    add_scored_images(
        workspace,
        tiny_generator,
        tmp_path / "tiny",
        SamplingSettings(num_steps=2, batch_size=4),
        {"drusen": "drusen", "normal": "normal"},
        lambda place, image: 0.9 if place else 0.1,
    )
    return workspace


def _run(ws: Workspace | Path, *arguments: str) -> Result:
    folder = ws.folder if isinstance(ws, Workspace) else ws
    return CliRunner().invoke(cli.app, [*arguments, "--workspace", str(folder)])


def test_an_export_is_proved_byte_by_byte_and_made_again_bit_for_bit(
    made: Workspace, tmp_path: Path
) -> None:
    done = _run(made, "export", str(tmp_path / "release"))
    assert done.exit_code == 0, done.output
    assert "scores learned from simulated ratings" in done.output
    proof = _run(made, "export", "--verify", str(tmp_path / "release"))
    assert proof.exit_code == 0, proof.output
    assert "every byte as listed" in proof.output
    assert "made again from their seeds: bit-identical" in proof.output
    assert "this workspace exported it" in proof.output


def test_a_damaged_release_is_a_failure_that_names_the_file(
    made: Workspace, tmp_path: Path
) -> None:
    _run(made, "export", str(tmp_path / "release"))
    (tmp_path / "release" / "data.csv").write_text("path,Text,modality\n")
    proof = _run(made, "export", "--verify", str(tmp_path / "release"), "--json")
    assert proof.exit_code == 1
    found = json.loads(proof.stdout)
    assert [problem["path"] for problem in found["problems"]] == ["data.csv"]
    assert found["ok"] is False and found["proved"] == "bit-identical"


def test_a_colleague_proves_the_bytes_without_a_workspace_or_in_another(
    made: Workspace, tmp_path: Path
) -> None:
    _run(made, "export", str(tmp_path / "release"))
    init_workspace(tmp_path / "other")
    for place in (tmp_path, tmp_path / "other"):
        found = verify(tmp_path / "release", place, num_again=16)
        assert found.ok and found.remembered is None and found.made_again is None


def test_an_image_swapped_for_another_seeds_image_is_not_made_again(
    made: Workspace, tmp_path: Path
) -> None:
    """Files and manifest agree with each other; only making the images again can tell."""
    from curate.release.manifest import manifest_bytes
    from curate.release.remake import images_made_again

    _run(made, "export", str(tmp_path / "release"))
    place = tmp_path / "release" / "manifest.json"
    raw: dict[str, Any] = json.loads(place.read_text())
    raw["images"][0]["seed"] += 1000
    place.write_bytes(manifest_bytes(raw))
    assert not verify(tmp_path / "release", made.folder, num_again=0).ok  # not what was exported
    found = verify(tmp_path / "release", made.folder, num_again=16)
    assert found.made_again is not None and found.made_again.proved == "different"
    assert found.made_again.different == (raw["images"][0]["path"],)
    assert images_made_again is not None


def test_a_manifest_that_is_named_is_the_one_that_is_made_again(
    made: Workspace, tmp_path: Path
) -> None:
    release, out = tmp_path / "release", tmp_path / "out"
    _run(made, "export", str(release))
    manifest = json.loads((release / "manifest.json").read_text())
    manifest["images"] = manifest["images"][:1]
    (release / "one.json").write_text(json.dumps(manifest))
    done = _run(made, "generate", "--from-manifest", str(release / "one.json"), "--out", str(out))
    assert "1 images made again" in done.output
    assert len(list(out.rglob("*.png"))) == 1


def test_export_says_its_result_as_json(made: Workspace) -> None:
    done = _run(made, "export", "--json", "--threshold", "0.5")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["num_kept"] + found["num_rejected"] == 6
    assert found["reasons"]["score below the threshold"] == 1
    assert (Path(found["folder"]) / "manifest.json").is_file()
    assert json.loads(_run(made, "status", "--json").stdout)["releases"] == 1


def test_evaluate_and_report_run_on_a_tiny_workspace(made: Workspace) -> None:
    evaluated = _run(made, "evaluate", "--json")
    assert evaluated.exit_code == 0, evaluated.output
    [version] = json.loads(evaluated.stdout)["versions"]
    assert version["figures"]["num_images"] == 6
    reported = _run(made, "report", "--json")
    assert reported.exit_code == 0, reported.output
    assert Path(json.loads(reported.stdout)["report"]).is_file()


def test_an_axis_evaluated_alone_leaves_the_page_of_all_as_it_is(
    made: Workspace, tmp_path: Path
) -> None:
    real = write_set(tmp_path / "real", {"disc": ("disc", 6), "bar": ("bar", 6)}, seed=1)
    assert _run(made, "import", str(real)).exit_code == 0
    page = made.folder / "reports" / "evaluation.html"
    alone = ("evaluate", "--only", "privacy")
    assert "Page:" not in _run(made, *alone).output and not page.exists()
    assert "Page:" in _run(made, "evaluate").output
    whole = page.read_bytes()
    assert _run(made, *alone).exit_code == 0 and page.read_bytes() == whole
    named = tmp_path / "privacy.html"
    assert _run(made, *alone, "--page", str(named)).exit_code == 0 and named.is_file()


def test_nothing_scored_is_one_line(workspace: Workspace) -> None:
    done = CliRunner().invoke(cli.app, ["export", "--workspace", str(workspace.folder)])
    assert done.exit_code == 1
    assert "curate train-reward" in done.output and "Traceback" not in done.output
