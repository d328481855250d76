"""`curate translate`: trained on one modality, files of another in, their own grid out."""

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from curate.errors import CurateError
from curate.importing.config import ImportConfig
from curate.importing.real_images import import_table
from curate.production.config import GeneratorChoice
from curate.progress import progress
from curate.samples.marks import says_synthetic
from curate.training.config import FamilyChoice, LessonConfig
from curate.training.train_generator import run_train_generator
from curate.translation.config import TranslateOptions
from curate.translation.heads import LOOKUPS, MadeUpHeads
from curate.translation.translate import Translated, translate
from curate.workspace import Workspace
from db.models import GeneratorVersion
from generators.families.translation import TRAINING

SIZE = 16
AFFINE = np.array([[0, -2.0, 0.1, 5], [1.9, 0, 0.2, -7], [0.1, 0.3, 3.0, 11], [0, 0, 0, 1]])
SEGMENTER = "import sys, numpy as np; from PIL import Image; i, o = sys.argv[1:3]; "
SEGMENTER += "a = np.asarray(Image.open(i)); Image.fromarray((a > 127).astype('uint8')).save(o)"


def write_pictures(folder: Path, modality: str, count: int, seed: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    heads = MadeUpHeads.made_up(count, SIZE, seed=seed)
    paths = []
    for number, pixels in enumerate(heads.pictures(LOOKUPS[modality], seed=seed)):
        paths.append(folder / f"{modality}-{number}.png")
        Image.fromarray((pixels * 255).astype(np.uint8)).save(paths[-1])
    return paths


@pytest.fixture
def trained(workspace: Workspace, tmp_path: Path) -> tuple[Workspace, GeneratorVersion]:
    """A workspace whose source images cannot be read, and a translator trained beside them."""
    rows = ["path,Text,modality"]
    for modality in ("T1", "PD"):
        for path in write_pictures(tmp_path / "data", modality, 4, seed=len(rows)):
            rows.append(f"{path.name},a head,{modality}")
    table = tmp_path / "data" / "table.csv"
    table.write_text("\n".join(rows))
    done = import_table(workspace, table, ImportConfig(new_modalities=("T1", "PD")))
    assert done.imported == 8
    sources = [row for row in rows if row.endswith("PD")]
    for row in sources:
        (tmp_path / "data" / row.split(",")[0]).unlink()
    _damage(workspace, "PD")
    version = run_train_generator(
        workspace,
        dataclasses.replace(TRAINING, num_steps=2, batch_size=2, micro_batch=2),
        LessonConfig(modalities=("T1",), num_samples=0, validation_share=0),
        choice=GeneratorChoice(),
        family=FamilyChoice(
            family="translation",
            settings=(f"size={SIZE}", "channels=8,16", "shows=contrast,cross,self,mind"),
        ),
        replay_prompts=None,
        say=print,
    )
    assert version is not None
    return workspace, version


def _damage(ws: Workspace, modality: str) -> None:
    """Make the stored files of a modality unreadable: whoever opened one would fail."""
    from db import queries

    images = queries.images.images_to_learn(ws.session, origin="real")
    found = [image.file_sha256 for image in images if image.modality == modality]
    assert len(found) == 4
    for sha256 in found:
        [path] = [p for p in ws.folder.rglob(sha256) if p.is_file()]
        path.chmod(0o644)
        path.write_bytes(b"never to be opened")


@pytest.fixture
def translating(
    trained: tuple[Workspace, GeneratorVersion], tmp_path: Path
) -> Callable[..., Translated]:
    ws, _ = trained

    def run(*sources: Path, **options: Any) -> Translated:
        asked = TranslateOptions(**{"num_steps": 2, "out": tmp_path / "out", **options})
        return translate(ws, sources, asked, say=lambda _: None, show=progress)

    return run


def test_it_learns_from_the_target_alone_and_translates_what_it_never_saw(
    translating: Callable[..., Translated], tmp_path: Path
) -> None:
    sources = write_pictures(tmp_path / "new", "T2", 3, seed=9)
    done = translating(*sources, version="T1")
    assert (done.made, len(done.files), done.failed) == (3, 3, [])
    first = {path: path.read_bytes() for path in done.files.values()}
    assert len(set(first.values())) == 3
    again = translating(*sources, version="T1", out=tmp_path / "again")
    assert again.made == 0  # what is there is not made again, and is the same
    for source, path in again.files.items():
        assert path.read_bytes() == first[done.files[source]]
    assert translating(*sources, seed=1).made == 3


def test_a_volume_comes_back_on_its_own_oblique_grid(
    translating: Callable[..., Translated], tmp_path: Path
) -> None:
    heads = MadeUpHeads.made_up(3, 20, seed=5).pictures(LOOKUPS["PD"], seed=5)
    voxels = np.zeros((24, 20, 4), np.int16)  # its last slice is empty
    voxels[2:22, :, :3] = (heads.transpose(1, 2, 0) * 900).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    done = translating(tmp_path / "scan.nii.gz")
    assert says_synthetic(done.files[tmp_path / "scan.nii.gz"])
    made: Any = nibabel.load(done.files[tmp_path / "scan.nii.gz"])
    assert made.shape == voxels.shape and made.get_data_dtype() == np.uint8
    np.testing.assert_allclose(made.affine, AFFINE, atol=1e-6)
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(made.header.get_zooms(), image.header.get_zooms(), atol=1e-6)
    filled = np.asarray(made.dataobj)
    assert filled[..., :3].any() and not filled[..., 3].any()


def test_figures_stand_beside_those_of_the_source_as_it_is(
    translating: Callable[..., Translated], tmp_path: Path
) -> None:
    sources = write_pictures(tmp_path / "new", "PD", 2, seed=9)
    targets = write_pictures(tmp_path / "true", "T1", 2, seed=9)
    for target in targets:
        labels = (np.asarray(Image.open(target)) > 127).astype(np.uint8)
        Image.fromarray(labels).save(target.with_suffix(".label.png"))
    truth = tuple(target.with_suffix(".label.png") for target in targets)
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(SEGMENTER)} {{in}} {{out}}"
    done = translating(*sources, targets=tuple(targets), segment=command, labels=truth)
    assert done.failed == []
    assert done.translatability is not None and 0 < done.translatability <= 1
    assert set(done.figures) == {"source as it is", "translated", "true target"}
    assert set(done.figures["translated"]) == {"SSIM", "PSNR", "MSE", "GMSD", "MI", "Dice 1"}
    assert done.figures["true target"]["Dice 1"]["value"] == 1
    assert done.figures["source as it is"]["Dice 1"]["value"] < 0.7


def test_what_cannot_be_done_is_one_line_and_the_rest_is_done(
    translating: Callable[..., Translated], tmp_path: Path
) -> None:
    [good] = write_pictures(tmp_path / "new", "PD", 1, seed=9)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "colour.png")
    (tmp_path / "torn.png").write_bytes(good.read_bytes()[:40])
    nan = np.full((8, 8, 2), np.nan, np.float32)
    nibabel.save(nibabel.Nifti1Image(nan, np.eye(4)), tmp_path / "nan.nii.gz")
    bad = [tmp_path / name for name in ("colour.png", "torn.png", "nan.nii.gz", "none.png")]
    done = translating(good, *bad)
    assert list(done.files) == [good]
    assert len(done.failed) == 4 and "three colour channels" in done.failed[0]
    flat = tmp_path / "flat.png"
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(flat)
    assert translating(flat).failed == []
    other = (
        f"{shlex.quote(sys.executable)} -c \"import sys; sys.exit('no weights')\" {{in}} {{out}}"
    )
    failing = translating(good, segment=other)
    assert list(failing.files) == [good] and "no weights" in failing.failed[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"targets": (Path("a.png"),) * 2}, "2 --target for 1 sources"),
        ({"labels": (Path("a.png"),)}, "give --segment"),
        ({"segment": "segment it"}, "{in} and {out}"),
        ({"version": "FLAIR"}, "FLAIR"),
    ],
)
def test_impossible_wishes_are_refused(
    translating: Callable[..., Translated], tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    [good] = write_pictures(tmp_path / "new", "PD", 1, seed=9)
    with pytest.raises(Exception, match=says.replace("{", r"\{")):
        translating(good, **options)


def test_without_a_translator_the_command_says_how_to_train_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    [good] = write_pictures(tmp_path / "new", "PD", 1, seed=9)
    with pytest.raises(CurateError, match="no trained translator"):
        translate(workspace, [good], TranslateOptions(), say=print, show=progress)
