"""A generator of HU volumes through production: files, geometry, another size, going on."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor

from curate.doctor import examine
from curate.importing.conditions import ConditionImages
from curate.production.images import prompt_values, samples_of
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import save_version
from curate.release.remake import remake_files
from curate.samples.formats import NIFTI, encode, read_sample
from curate.workspace import Workspace
from db import queries
from db.models import File, GeneratorVersion, Image, Prompt
from generators import registry
from generators.base import Conditions, Output
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.sample import Affine, Sample

SETTINGS = SamplingSettings(num_steps=1, batch_size=3)
AFFINE: Affine = ((-1.1, 0.2, 0, 9), (0.2, 1.1, 0.1, -4), (0, -0.1, 5, 1 / 3), (0, 0, 0, 1))


class ToyVolumes:
    """A mask's classes as HU, moved by the seed; seed 13 gives NaN."""

    family = "toy-volumes"
    reads = frozenset({"mask"})
    output = Output("HU", (1, 2, 4, 4))
    device = torch.device("cpu")

    def condition(self, prompts: Sequence[PromptValue]) -> Conditions:
        masks = [p.images["mask"].array.astype(np.float32) for p in prompts]
        return Conditions.of(channels=torch.from_numpy(np.stack(masks)))

    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        moved = torch.tensor([float(seed) if seed != 13 else torch.nan for seed in seeds])
        return conditions.parts["channels"] * 100 - 1000.4 + moved[:, None, None, None, None]

    def to(self, device: torch.device | str) -> "ToyVolumes":
        return self

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "model_index.json").write_text('{"family": "toy-volumes"}')


def load(folder: str | Path) -> ToyVolumes:
    return ToyVolumes()


@pytest.fixture
def version(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> GeneratorVersion:
    here = EntryPoint("toy-volumes", f"{__name__}:load", registry.GROUP)
    monkeypatch.setattr(registry, "OWN_FAMILIES", (*registry.OWN_FAMILIES, here))
    ToyVolumes().save(tmp_path / "toy")
    return save_version(
        workspace,
        tmp_path / "toy",
        generator_name="toy",
        family="toy-volumes",
        how_made="imported",
    )


def prompt_with_mask(ws: Workspace, depth: int) -> tuple[Prompt, Sample]:
    classes = np.arange(depth * 16, dtype=np.uint8).reshape(1, depth, 4, 4) % 4
    mask = Sample(classes, "labels", (5.0, 1.1, 1.1), AFFINE)
    file = encode(mask)
    [sha] = queries.files.add_files(ws.session, ws.store, [(file.content, file.media_type)])
    prompt = queries.prompts.get_or_add_prompt(
        ws.session, modality="ChestCT", text=f"{depth} slices", conditions={"mask": sha}
    )
    return prompt, mask


def test_hu_volumes_of_several_sizes_are_kept_where_their_masks_lie(
    workspace: Workspace, version: GeneratorVersion
) -> None:
    asked = [prompt_with_mask(workspace, depth) for depth in (2, 3)]
    prompts = [prompt for prompt, _ in asked]
    by_id = {prompt.id: mask for prompt, mask in asked}
    plan = plan_run(workspace, version, prompts[:1], count=2, settings=SETTINGS)
    run_plan(workspace, plan, lambda done: None)
    both = plan_run(workspace, version, prompts, count=2, settings=SETTINGS)
    result = run_plan(workspace, both, lambda done: None)
    assert (result.already, result.made) == (2, 2)  # what was there is not made again
    images = [image for image, _ in queries.images.images(workspace.session)]
    assert len(images) == 4
    for image in images:
        mask = by_id[image.prompt_id]
        hu = (mask.array * np.int16(100) - 1000 + (image.seed or 0)).astype(np.int16)
        expected = Sample(hu, "HU", mask.spacing_mm, mask.affine)
        assert read_sample(workspace.store, image.file_sha256) == expected
        assert workspace.session.get_one(File, image.file_sha256).media_type == NIFTI
        assert (image.unit, image.shape) == ("HU", list(hu.shape))
        assert image.spacing_mm == [5.0, 1.1, 1.1]
        assert image.affine == [list(row) for row in AFFINE]
    assert examine(workspace).is_whole


OBLIQUE = np.array([[0.9, -0.3, 0.1], [0.28, 0.92, 0.2], [-0.15, -0.15, 0.97]])
TURNS = {  # of voxel axes (i, j, k) to mm, right, anterior, superior
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "PIR": np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "oblique": np.linalg.qr(OBLIQUE)[0],
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_volume_lies_where_its_masks_file_lies_for_nibabel_and_simpleitk(
    turn: str, workspace: Workspace, version: GeneratorVersion, tmp_path: Path
) -> None:
    steps, shape = np.diag([1.14, 1.3, 5.0]), (5, 4, 3)
    affine = np.eye(4)
    affine[:3, :3] = TURNS[turn] @ steps
    affine[:3, 3] = (-31.25, 17.5, 1 / 3)
    classes = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(classes, affine), tmp_path / "mask.nii.gz")
    found = ConditionImages(workspace, tmp_path).of({"mask": "mask.nii.gz"})["mask"]
    prompt = queries.prompts.get_or_add_prompt(
        workspace.session, modality="ChestCT", text="x", conditions={"mask": found.file_sha256}
    )
    plan = plan_run(workspace, version, [prompt], count=1, first_seed=7, settings=SETTINGS)
    run_plan(workspace, plan, lambda done: None)
    [(image, _)] = queries.images.images(workspace.session)
    (tmp_path / "made.nii.gz").write_bytes(workspace.store.get(image.file_sha256))

    files = [tmp_path / "mask.nii.gz", tmp_path / "made.nii.gz"]
    mask, made = (nibabel.as_closest_canonical(nibabel.Nifti1Image.from_filename(f)) for f in files)
    assert made.get_data_dtype() == np.int16 and made.shape == mask.shape
    assert np.allclose(made.affine, mask.affine, rtol=1e-6, atol=1e-5)  # 32 bits in the header
    assert np.allclose(made.header.get_zooms(), mask.header.get_zooms(), rtol=1e-6)
    assert np.array_equal(made.get_fdata(), mask.get_fdata() * 100 - 993)  # HU: -1000.4 + seed 7

    sitk = pytest.importorskip("SimpleITK")
    mask, made = (sitk.DICOMOrient(sitk.ReadImage(str(file)), "RAS") for file in files)
    for says in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(made, says)(), getattr(mask, says)(), rtol=1e-5, atol=1e-5), says
    voxels = sitk.GetArrayFromImage(mask).astype(int) * 100 - 993
    assert np.array_equal(sitk.GetArrayFromImage(made), voxels)


def test_a_volume_with_nan_is_left_out(workspace: Workspace, version: GeneratorVersion) -> None:
    prompt, _ = prompt_with_mask(workspace, 2)
    plan = plan_run(workspace, version, [prompt], count=3, first_seed=12, settings=SETTINGS)
    result = run_plan(workspace, plan, lambda done: None)
    assert (result.made, result.broken) == (2, 1)


def test_a_lost_volume_is_made_again(workspace: Workspace, version: GeneratorVersion) -> None:
    prompt, _ = prompt_with_mask(workspace, 2)
    plan = plan_run(workspace, version, [prompt], count=1, settings=SETTINGS)
    run_plan(workspace, plan, lambda done: None)
    [(image, _)] = queries.images.images(workspace.session)
    assert isinstance(image, Image)
    assert remake_files(workspace, [image.file_sha256], lambda done: None) == {}


def test_volumes_of_two_sizes_are_made_again_in_their_order(
    workspace: Workspace, version: GeneratorVersion
) -> None:
    prompts = [prompt_with_mask(workspace, depth)[0] for depth in (2, 3)]
    plan = plan_run(workspace, version, prompts, count=2, settings=SETTINGS)
    run_plan(workspace, plan, lambda done: None)
    images = [image for image, _ in queries.images.images(workspace.session)]
    mixed = [images[place].file_sha256 for place in (0, 2, 1, 3)]
    assert remake_files(workspace, mixed, lambda done: None) == {}
    of = prompt_values(workspace, [prompt.id for prompt in prompts])
    asked = [of[prompts[place].id] for place in (0, 1, 0)]
    made = samples_of(ToyVolumes(), asked, [5, 6, 7], SETTINGS)
    assert [sample.array.shape[1] for sample in made] == [2, 3, 2]
    assert [int(sample.array.min()) for sample in made] == [-995, -994, -993]  # -1000.4 + the seed
