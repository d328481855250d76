"""An effect asked of a generator in a workspace: its files, its words, and when there is none."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from curate.clinical.chests import LUNGS, chest, dice, segmented
from curate.clinical.config import DemoConfig, EffectConfig
from curate.clinical.demo import _write_demo, make_demo
from curate.clinical.effect import after_training, find_effects, lines
from curate.errors import CurateError
from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.production.versions import save_version
from curate.samples.pixels import array_of
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.errors import GeneratorError
from generators.families import clinical, clinical_gan
from generators.families.clinical_text import READS
from tests.generators.families.test_clinical import SMALL, prompt_of

SIDE = 16
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Chests:
    """A workspace with chests, and two versions in it."""

    ws: Workspace
    data: Path
    hears: str  # its text moves images as no training taught it
    deaf: str
    in_one_step: str  # family clinical-gan


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chests]:
    """Chests imported as volumes with masks and records; what asks for effects only adds files."""
    folder = tmp_path_factory.mktemp("chests")
    init_workspace(folder / "study")
    table = _write_demo(folder / "data", DemoConfig(cases=24, side=SIDE))
    records = table.parent / "records.csv"
    with open_workspace(folder / "study") as ws:
        done = import_table(ws, table, ImportConfig(kind="volume", records=records))
        assert (done.imported, done.refused) == (24, [])
        cases = [chest(number, SIDE) for number in range(12)]
        examples = [(case.image, prompt_of(case)) for case in cases]
        versions = []
        for family, fusion in (
            (clinical, "region"),
            (clinical, "none"),
            (clinical_gan, "region"),
        ):
            fields = str(table.parent / "fields.toml")
            settings = {**SMALL, "fields": fields, "placebos": 20, "fusion": (fusion,)}
            generator = family.create(ClinicalSettings(**settings), Beginning(examples, seed=1))
            draws = torch.Generator().manual_seed(0)
            for weight in generator.denoiser.parameters():
                if not weight.any():
                    weight.normal_(0, 0.05, generator=draws)
            name = f"{generator.family}-{fusion}"
            generator.save(folder / name)
            kept = save_version(
                ws, folder / name, generator_name=name, family=generator.family, how_made="made"
            )
            versions.append(kept.id)
        yield Chests(ws, table.parent, *versions)


QUICK: dict[str, Any] = {"count": 3, "steps": 2, "pictures": 1, "batch_size": 2}


@pytest.mark.slow
def test_an_effect_leaves_pictures_volumes_and_a_page(chests: Chests) -> None:
    config = EffectConfig(
        version=chests.hears,
        fields=("smoking", "age"),
        values=("never,current", "24,46,68"),
        **QUICK,
    )
    study = find_effects(chests.ws, config)
    assert {(e.test.field, e.test.region) for e in study.effects} == {
        (field, f"label {label}") for field in ("smoking", "age") for label in range(5)
    }
    assert {dose.field for dose in study.doses} == {"age"}
    told = json.loads((study.folder / "effect.json").read_text())
    assert told["cases"] == 3 and "not a finding about patients" in told["of"]
    page = (study.folder / "index.html").read_text()
    assert "does not prove anything about patients" in page and "case-0-smoking" in page
    mask = nibabel.Nifti1Image.from_filename(chests.data / "0-mask.nii.gz")
    names = [f"case-0-smoking-never-current-{role}.nii.gz" for role in ("a", "b", "difference")]
    before, after, change = (
        nibabel.Nifti1Image.from_filename(study.folder / name) for name in names
    )
    spacing = np.linalg.norm(np.asarray(mask.affine)[:3, :3], axis=0)
    assert np.allclose(np.linalg.norm(change.affine[:3, :3], axis=0), spacing)
    difference = after.get_fdata() - before.get_fdata()
    assert np.allclose(change.get_fdata(), difference, atol=1e-3) and np.abs(difference).max() > 0
    picture = array_of((study.folder / "case-0-smoking-never-current.png").read_bytes())
    assert picture.shape == (5 * 192, 3 * 192, 3)  # five slices, three panels
    assert (study.folder / "case-0-age-24-68.gif").is_file()


@pytest.mark.slow
def test_a_generator_that_hears_no_text_has_no_effect(chests: Chests) -> None:
    study = find_effects(chests.ws, EffectConfig(version=chests.deaf, **QUICK))
    assert all(effect.mean == 0 for effect in study.effects if effect.num)
    said = lines(study)
    assert not any(line.startswith("effect:") for line in said)
    assert any(line.startswith("no effect found: smoking") for line in said)


def test_a_generator_of_one_step_is_asked_like_any_other(chests: Chests) -> None:
    asked = EffectConfig(
        version=chests.in_one_step, fields=("smoking",), values=("never,current",), **QUICK
    )
    study = find_effects(chests.ws, asked)
    assert study.cases == 3 and study.unit == "HU"
    assert any(effect.mean for effect in study.effects)  # shaken weights hear the text
    assert any("clinical" not in line and "smoking" in line for line in lines(study))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"fields": ("weight",)}, "No field 'weight'. Known: smoking, age, diagnosis, sex"),
        ({"fields": ("smoking",), "values": ("never",)}, "at least two known values: 'never'"),
        ({"fields": ("smoking",), "values": ("never,often",)}, "smoking is 'often'; known"),
        ({"cases": ("nowhere.nii.gz+{}",)}, "nowhere.nii.gz"),
        ({"cases": ("m.nii.gz+{",)}, "give MASK"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    chests: Chests, config: dict[str, Any], says: str
) -> None:
    with pytest.raises((CurateError, GeneratorError), match=says):
        find_effects(chests.ws, EffectConfig(version=chests.hears, **{**QUICK, **config}))


def test_values_belong_to_fields() -> None:
    with pytest.raises(CurateError, match="1 --values for 2 --field"):
        EffectConfig(fields=("a", "b"), values=("x,y",))


def test_a_family_without_records_has_no_fields(chests: Chests, tiny_generator: Any) -> None:
    folder = chests.ws.folder / "tiny"
    tiny_generator.save(folder)
    made = save_version(
        chests.ws, folder, generator_name="tiny", family="text-to-image", how_made="imported"
    )
    assert after_training(chests.ws, made.id) == []
    with pytest.raises(CurateError, match="'text-to-image' reads no record"):
        find_effects(chests.ws, EffectConfig(version=made.id))


def test_a_named_case_is_a_mask_file_and_a_record(chests: Chests) -> None:
    mask = chests.data / "3-mask.nii.gz"
    asked = EffectConfig(
        version=chests.hears, fields=("sex",), cases=(f'{mask}+{{"age": 61}}',) * 2, **QUICK
    )
    study = find_effects(chests.ws, asked)
    assert study.cases == 2 and all("fewer than 5" in e.why_not for e in study.effects)


def test_every_cell_of_the_notebook_runs_and_only_the_field_makes_the_difference(
    chests: Chests,
) -> None:
    cells = json.loads((ROOT / "examples" / "effect.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("SEED, STEPS = 0, 12", "SEED, STEPS = 0, 2")
            source = source.replace('"chests"', repr(str(chests.ws.folder)))
            source = source.replace('"latest"', repr(chests.hears))
            exec(compile(source, cell["id"], "exec"), names)
    assert names["fields"].parse(names["text"]) == names["prompt"].record
    difference, mask = names["difference"], names["mask"]
    assert difference.shape == mask.shape == (SIDE, SIDE, SIDE)
    total = sum(float(difference[tuple(place)]) for place in np.argwhere(mask == 1))
    assert names["by_region"][1] == pytest.approx(total / int((mask == 1).sum()), abs=1e-3)
    generator, (never, _) = names["generator"], names["variants"]
    same = generator.generate(generator.condition([never, never]), [0, 0], names["settings"])
    assert torch.equal(same[0], same[1]) and np.abs(difference).max() > 1  # HU


@pytest.mark.slow
@pytest.mark.parametrize("family", ["clinical", "clinical-gan"])
def test_the_demo_trains_and_obeys_its_masks(
    family: str, workspace: Workspace, tmp_path: Path
) -> None:
    config = DemoConfig(cases=20, steps=2, folder=tmp_path / "demo", family=family)
    said: list[str] = []
    made = make_demo(workspace, config, said.append)
    assert made is not None and made.how_made == "train-generator"
    assert queries.versions.family_of(workspace.session, made) == family
    assert any(line.startswith("Planted: smoking never -> current +60 HU") for line in said)
    assert READS in [path.name for path in (workspace.cache / "versions").rglob("*.json")]


def test_a_chest_is_what_its_record_says() -> None:
    cases = [chest(number, SIDE, missing=0.0) for number in range(60)]
    lungs = [np.isin(case.mask.array[0], LUNGS) for case in cases]
    images = [case.image.array[0] for case in cases]
    means = np.array([im[inside].mean() for im, inside in zip(images, lungs, strict=True)])
    smokes = np.array([case.record["smoking"] == "current" for case in cases])
    difference = means[smokes].mean() - means[~smokes].mean()
    error = np.hypot(*(means[s].std() / s.sum() ** 0.5 for s in (smokes, ~smokes)))
    assert abs(difference - 60) < 3 * error
    masks = [case.mask.array[0] for case in cases]
    overlap = [dice(segmented(im), mask, LUNGS) for im, mask in zip(images, masks, strict=True)]
    assert np.mean(overlap) > 0.95 and min(overlap) > 0.8  # by thresholds alone
