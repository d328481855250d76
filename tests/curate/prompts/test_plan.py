from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from curate.errors import CurateError
from curate.production import plan
from curate.production.config import GenerateOptions, GeneratorChoice
from curate.production.images import samples_of
from curate.production.versions import (
    chosen_version,
    embedded_version,
    load_version,
    save_version,
)
from curate.prompts.generate import generate_images
from curate.samples.formats import encode
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace, WorkspaceSettings
from db import queries
from db.models import Image as ImageRow
from generators.base import Generator
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.seeds import hashed_seed
from tests.curate.conftest import picture

SETTINGS = SamplingSettings(num_steps=1, batch_size=4)


@pytest.fixture
def ready(workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path) -> Workspace:
    """A workspace with a generator and two real images of one label."""
    tiny_generator.save(tmp_path / "tiny")
    save_version(
        workspace,
        tmp_path / "tiny",
        generator_name="tiny",
        family="text-to-image",
        how_made="imported",
    )
    prompt = queries.prompts.get_or_add_prompt(
        workspace.session, modality="OCT", text="an eye", label="amd"
    )
    for seed in range(2):
        array = picture(seed, 0.5)
        [sha] = queries.files.add_files(
            workspace.session, workspace.store, [(png_bytes(array), "image/png")]
        )
        real = ImageRow(
            file_sha256=sha,
            pixels_sha256=pixels_hash(array),
            origin="real",
            prompt_id=prompt.id,
            shape=[1, 64, 64],
        )
        workspace.session.add(real)
    workspace.session.commit()
    return workspace


def shown(ws: Workspace) -> dict[tuple[str, int, bool], str]:
    """Return what was made, its file's hash by (text, seed, noise of its own)."""
    return {
        (prompt.text, image.seed or 0, "own_noise" in (image.settings or {})): image.file_sha256
        for image, prompt in queries.images.images(ws.session)
        if image.origin == "synthetic"
    }


def test_each_prompt_has_noise_of_its_own(ready: Workspace, tmp_path: Path) -> None:
    sheet = options(tmp_path, "modality,text\nOCT,drusen\nOCT,normal\n", count=1)
    generate_images(ready, sheet)
    generate_images(ready, replace(sheet, paired_seeds=True))
    [latest] = {version.id for version in queries.versions.versions(ready.session)}
    generator, alike = load_version(ready, latest), {}
    for prompt in queries.prompts.prompts_by_id(
        ready.session, [i.prompt_id for i, _ in queries.images.images(ready.session)]
    ).values():
        # noise by the generator's own seeds: 0, or the hash of prompt and seed
        for seed in (0, hashed_seed(f"prompt {prompt.id} seed 0")):
            [sample] = samples_of(
                generator, [PromptValue("OCT", prompt.text)], [seed], sheet.settings
            )
            alike[prompt.text, 0, seed != 0] = sha256(encode(sample).content).hexdigest()
    assert {key: alike[key] for key in shown(ready)} == shown(ready)
    assert len(set(shown(ready).values())) == 4


def test_a_workspace_begun_before_keeps_paired_noise_until_told_otherwise(
    ready: Workspace, tmp_path: Path
) -> None:
    sheet = options(tmp_path, "modality,text\nOCT,drusen\n", count=1)
    before = replace(ready, settings=WorkspaceSettings())
    assert [run.made for run in generate_images(before, sheet).runs] == [1]
    assert set(shown(ready)) == {("drusen", 0, False)}
    assert [run.made for run in generate_images(before, sheet).runs] == [0]
    assert [run.made for run in generate_images(ready, sheet).runs] == [1]
    told = replace(sheet, paired_seeds=False)
    assert [run.made for run in generate_images(before, told).runs] == [0]


def options(folder: Path, content: str, **given: int | bool) -> GenerateOptions:
    (folder / "sheet.csv").write_text(content)
    return GenerateOptions(sheet=folder / "sheet.csv", settings=SETTINGS, **given)  # type: ignore[arg-type]


def made(ws: Workspace) -> dict[tuple[str, str], list[int]]:
    """Return the seeds of what was made, by modality and text."""
    found: dict[tuple[str, str], list[int]] = {}
    for image, prompt in queries.images.images(ws.session, origin="synthetic"):
        found.setdefault((prompt.modality, prompt.text), []).append(image.seed or 0)
    return {key: sorted(seeds) for key, seeds in found.items()}


def test_a_grid_is_made_with_its_counts_and_seeds(ready: Workspace, tmp_path: Path) -> None:
    sheet = "modality,text,count,seed,finding\nOCT|CXR,{finding},2,100,scar|hole\nOCT,normal,,,\n"
    done = generate_images(ready, options(tmp_path, sheet, count=1))
    assert sum(run.made for run in done.runs) == 9
    assert made(ready)["CXR", "hole"] == [100, 101]
    assert made(ready)["OCT", "normal"] == [0]


def test_labels_are_balanced_with_the_real_images_counted(ready: Workspace, tmp_path: Path) -> None:
    sheet = "modality,text,label\nOCT,drusen,amd\nOCT,large drusen,amd\nOCT,clear,normal\n"
    generate_images(ready, options(tmp_path, sheet, balance=5))
    assert {key: len(seeds) for key, seeds in made(ready).items()} == {
        ("OCT", "drusen"): 2,
        ("OCT", "large drusen"): 1,  # 2 real + 3 = 5
        ("OCT", "clear"): 5,
    }
    again = generate_images(ready, options(tmp_path, sheet, balance=5))
    assert sum(run.made for run in again.runs) == 0


def test_a_long_sheet_becomes_several_runs_of_the_same_images(
    ready: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = "modality,text\n" + "".join(f"OCT,patient {i}\n" for i in range(7))
    monkeypatch.setattr(plan, "RUN_PROMPTS", 3)
    done = generate_images(ready, options(tmp_path, sheet, count=1))
    assert [run.planned for run in done.runs] == [3, 3, 1]
    monkeypatch.setattr(plan, "RUN_PROMPTS", 100)
    again = generate_images(ready, options(tmp_path, sheet, count=1))
    assert (again.runs[0].planned, again.runs[0].already) == (7, 7)


def test_bad_lines_are_told_once(ready: Workspace, tmp_path: Path) -> None:
    sheet = "modality,text,label\nPET,brain,a\nOCT,drusen,b\n"
    done = generate_images(ready, options(tmp_path, sheet, balance=1, dry_run=True))
    assert len(done.refused) == 1
    assert done.runs[0].made == 1  # would be: a dry run
    assert made(ready) == {}


def test_balance_and_a_count_contradict_each_other(ready: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="--balance"):
        generate_images(ready, options(tmp_path, "modality,text,count\nOCT,a,3\n", balance=5))


def test_a_dry_run_adds_no_row_and_no_file(ready: Workspace, tmp_path: Path) -> None:
    Image.fromarray(picture(9, 0.5)).save(tmp_path / "mask.png")
    files, before = list(ready.store.list()), queries.audit.counts(ready.session)
    sheet = "modality,text,mask\nOCT,drusen,mask.png\nOCT,scar,\n"
    done = generate_images(ready, options(tmp_path, sheet, count=3, dry_run=True))
    assert [(run.made, run.already, run.planned) for run in done.runs] == [(6, 0, 6)]
    assert queries.audit.counts(ready.session) == before
    assert queries.runs.last_run(ready.session) is None
    assert list(ready.store.list()) == files


@pytest.mark.parametrize("base", [None, "tiny"])
def test_a_dry_run_before_there_is_a_version_adds_none(
    workspace: Workspace, tiny_generator: Generator, tmp_path: Path, base: str | None
) -> None:
    tiny_generator.save(tmp_path / "tiny")
    choice = GeneratorChoice(base=base and str(tmp_path / base))
    before = list(workspace.session.connection().connection.driver_connection.iterdump())  # type: ignore[union-attr]
    asked = GenerateOptions(
        texts=("drusen",), modalities=("OCT",), generator=choice, settings=SETTINGS, dry_run=True
    )
    done = generate_images(workspace, asked)
    after = list(workspace.session.connection().connection.driver_connection.iterdump())  # type: ignore[union-attr]
    assert after == before
    assert list(workspace.store.list()) == []
    assert done.version_id == chosen_version(workspace, choice).id


@pytest.mark.parametrize(("modality", "known"), [("OCT", True), ("HeadCT", False)])
def test_a_modality_that_the_embedded_model_never_learned_is_named(
    workspace: Workspace, modality: str, known: bool
) -> None:
    embedded_version(workspace)
    asked = GenerateOptions(
        texts=("normal",), modalities=(modality,), settings=SETTINGS, dry_run=True
    )
    notes = generate_images(workspace, asked).notes
    assert [note.split(":")[0] for note in notes] == (
        [] if known else ["The embedded model never learned HeadCT"]
    )
