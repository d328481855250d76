"""The circle, for any family: its name and demo data, through the commands alone.

import, train-generator, generate (killed once), rate, train-reward, score, rl-step, gate, export,
verify, make again, evaluate, report. A further family is one more entry of `FAMILIES`.
"""

import csv
import gzip
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import cli
from annotation.config import FIRST_EYES
from annotation.csv_file import OF_CRITERION
from curate.workspace import open_workspace
from db import queries
from generators.base import Generator, Prompt
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.families import clinical_gan
from generators.registry import simulated_of
from generators.sample import Sample
from rewards.frozen import load_eyes
from tests import children
from tests.tiny import tiny_generator
from tests.toys import mask, one_step, prior, volume

ROOT = Path(__file__).parent.parent
FINDINGS = ("normal", "drusen")
WHY_NOT = "makes a sample in one step"


@dataclass(frozen=True)
class Family:
    """A family and its demo data."""

    name: str
    generator: Callable[[], Generator]  # untrained: the circle trains it
    roles: tuple[str, ...] = ()  # condition images that its prompts carry
    has_trajectory: bool = True  # else RL refuses it, in one line that says why
    learns: bool = True  # else fine-tuning refuses it in the same line


def _network() -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=mask.SIDE,
        in_channels=2,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
    )


def _toy_one_step() -> Generator:
    torch.manual_seed(0)
    return one_step.OneStep(nn.Conv2d(1, 1, 3, padding=1))


def _toy_volume() -> Generator:
    torch.manual_seed(0)
    return volume.Volume(nn.Conv3d(1, 1, 3, padding=1))


def _clinical_gan() -> Generator:
    torch.manual_seed(0)
    light = np.zeros((1, mask.SIDE, mask.SIDE), np.uint8)
    inside = light.copy()
    inside[:, 4:12, 4:12] = 1
    prompt = Prompt("OCT", "drusen or normal", images={"mask": Sample(inside, "labels")})
    small = ClinicalSettings(channels=(8, 8), text_width=16, text_layers=1, placebos=0)
    begun = clinical_gan.create(small, Beginning([(Sample(light), prompt)], seed=0))
    nn.init.normal_(begun.denoiser.network.conv_out.weight, std=0.3)  # else all images are grey
    return begun


FAMILIES = (
    Family("text-to-image", tiny_generator),
    Family("toy-mask", lambda: mask.generator(_network()), roles=("mask",)),
    Family("toy-prior", lambda: prior.generator(_network()), roles=("prior",)),
    Family("clinical-gan", _clinical_gan, roles=("mask",), has_trajectory=False),
    Family("toy-one-step", _toy_one_step, has_trajectory=False, learns=False),
    Family("toy-volume", _toy_volume, has_trajectory=False, learns=False),
)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Families of another package, installed as pip would: by an entry point on the path."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[curate.generators]\ntoy-mask = tests.toys.mask:load\n"
        "toy-prior = tests.toys.prior:load\ntoy-one-step = tests.toys.one_step:load\n"
        "toy-volume = tests.toys.volume:load\n"
    )
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def _demo(family: Family, folder: Path) -> None:
    """Write real images whose disc follows their mask, their table, and a prompt sheet."""
    rows, prompts = [], []
    y, x = np.mgrid[0 : mask.SIDE, 0 : mask.SIDE]
    for number in range(12):
        random = np.random.default_rng(number)
        finding = FINDINGS[number % 2]
        centre, radius = random.uniform(5, 11, 2), random.uniform(2, 5)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        light = 90 + 120 * disc + random.normal(0, 8, disc.shape) + 20 * (finding == "drusen")
        Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / f"{number}-mask.png")
        before = (light - 30 * disc).clip(0, 255).astype(np.uint8)
        Image.fromarray(before).save(folder / f"{number}-prior.png")
        conditions = {role: f"{number}-{role}.png" for role in family.roles}
        facts = {"modality": "OCT", "label": finding, **conditions}
        rows.append({"path": f"{number}.png", "Text": finding, "patient": f"p{number}", **facts})
        prompts.append({"text": finding, **facts})
    _write(folder / "data.csv", rows)
    _write(folder / "prompts.csv", prompts[:2])


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@dataclass(frozen=True)
class Study:
    """One family's workspace, and how to run commands on it."""

    family: Family
    folder: Path
    site: Path

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run a command in this process; its output is for asserting."""
        place = ["--workspace", str(self.folder / "study")]
        result = CliRunner().invoke(cli.app, [*arguments, *place])
        assert result.exit_code == status, f"{arguments}: {result.output}"
        return result.output

    @property
    def loop(self) -> tuple[str, ...]:
        """Return what makes single commands a round of a loop, where the family can take one."""
        return ("--loop", "circle") if self.family.has_trajectory else ()

    @property
    def refused(self) -> int:
        """Return the status of a command that needs a trajectory."""
        return 0 if self.family.has_trajectory else 1

    def num_made(self) -> int:
        """Return how many synthetic images the workspace has."""
        return int(json.loads(self.run("status", "--json"))["synthetic_images"])

    def killed(self, *arguments: str) -> None:
        """Run a command in a process of its own, and kill it when its first images are kept."""
        words = [*arguments, "--workspace", str(self.folder / "study")]
        kept = self.folder / "study" / "files"
        before = len(list(kept.rglob("*")))
        paths = [str(self.site), str(ROOT)]
        child = children.started(
            children.curate, words, self.folder, paths, said=self.folder / "killed.txt"
        )
        while child.is_alive() and len(list(kept.rglob("*"))) <= before:
            time.sleep(0.01)
        child.kill()
        child.join()


@pytest.fixture(params=FAMILIES, ids=lambda family: str(family.name))
def study(request: pytest.FixtureRequest, toys: Path, tmp_path: Path) -> Study:
    """A workspace with the family's demo data beside it, nothing done yet."""
    family: Family = request.param
    _demo(family, tmp_path)
    family.generator().save(tmp_path / "base")
    made = CliRunner().invoke(cli.app, ["init", str(tmp_path / "study")])
    assert made.exit_code == 0
    return Study(family, tmp_path, toys)


def _rated_by_brightness(simulated: Path, workspace: Path) -> None:
    """Write rated.csv: the same images, of which the brighter half gets the best grade."""
    with simulated.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    paths = sorted({line["image_path"] for line in lines})
    # raters who grade several criteria answer version 2 of the rubric: so does this one
    criteria = [name for name in lines[0] if name.startswith(OF_CRITERION)]
    stored = {path.name: path for path in (workspace / "files").rglob("*") if path.is_file()}
    light = {path: _mean(stored[Path(path).name.partition(".")[0]].read_bytes()) for path in paths}
    middle = float(np.median(list(light.values())))
    grades = {path: "3" if light[path] > middle else "1" for path in paths}
    rows = [
        {"image_path": path, "rating": grades[path], **dict.fromkeys(criteria, grades[path])}
        for path in paths
    ]
    _write(simulated.with_name("rated.csv"), rows)


def _mean(content: bytes) -> float:
    """Return the mean of a picture's levels, or of a volume's HU."""
    if content.startswith(b"\x1f\x8b"):
        return float(nib.Nifti1Image.from_bytes(gzip.decompress(content)).get_fdata().mean())
    return float(np.asarray(Image.open(io.BytesIO(content))).mean())


@pytest.mark.slow
def test_the_circle_closes(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.folder)
    run = study.run
    run("import", "data.csv")
    learn = ("train-generator", "--base", "base", "--steps", "2", "--batch-size", "2")
    refused = 0 if study.family.learns else 1
    said = run(*learn, "--validate-every", "2", "--samples", "0", status=refused)
    assert study.family.learns or WHY_NOT in said
    sheet: tuple[str, ...] = (
        "generate",
        "--prompts",
        "prompts.csv",
        "--count",
        "12",
        "--steps",
        "3",
    )
    sheet = (*sheet, *study.loop) if study.family.learns else (*sheet, "--base", "base")
    study.killed(*sheet)
    run(*sheet)
    made = study.num_made()
    assert made == 12 * len((study.folder / "prompts.csv").read_text().splitlines()[1:])
    assert "0 images made" in run(*sheet)  # killed or not, nothing is made twice

    run("rate", "simulate", *study.loop)
    own = simulated_of(study.family.name)
    with open_workspace(study.folder / "study") as ws:
        looked = {
            rater.config.get("eyes", FIRST_EYES) for rater in queries.campaigns.raters(ws.session)
        }
    assert looked == {own.identity if own else load_eyes().identity}
    run("rate", "export", "simulated.csv")
    _rated_by_brightness(study.folder / "simulated.csv", study.folder / "study")
    run("rate", "import", "rated.csv", "--rater", "bright")
    assert study.num_made() == made
    if study.family.learns and not study.family.has_trajectory:  # its way to improve
        rated = ("--no-real", "--rated", "--steps", "1", "--batch-size", "2", "--samples", "0")
        assert "rated images have a mean of 3 or more" in run("train-generator", *rated)
    run("train-reward", "--min-ratings", "10", *study.loop)
    run("score")
    step = ("rl-step", "--updates", "1", "--prompts-per-update", "2", "--group-size", "2")
    said = run(*step, "--steps", "3", *study.loop, status=study.refused)
    assert study.family.has_trajectory or WHY_NOT in said
    if study.family.has_trajectory:
        assert re.search("round 1 of circle: (promoted|rejected): ", run("gate", *study.loop))

    run("export", "release", "--top-share", "0.5")
    assert "bit-identical" in run("export", "--verify", "release")
    run("generate", "--from-manifest", "release", "--out", "again")
    kinds = ("*.png", "*.nii.gz")
    release, again = (
        {path.name: path.read_bytes() for kind in kinds for path in Path(folder).rglob(kind)}
        for folder in ("release", "again")
    )
    assert again == release and again
    assert (own.judge if own else "judge C") in run("evaluate")
    run("report", "--out", "report.html")
    assert "0 things wrong" in run("doctor")
