"""Try: what a version declares is what is asked; nothing stays unless it is kept."""

import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner
from werkzeug.test import TestResponse

from cli import app as command_line
from curate.doctor import examine
from curate.errors import CurateError
from curate.production.versions import save_version
from curate.samples.formats import encode
from curate.samples.marks import marked, unmarked
from curate.samples.pixels import array_of, png_bytes
from curate.site.app import site_app
from curate.site.jobs import Jobs
from curate.site.making import Bench, keep
from curate.site.wish import Wish, wish_of
from curate.site.worker import work
from curate.web.pages import Sessions
from curate.workspace import Workspace
from db import queries
from db.models import Round
from generators.beginning import Beginning
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError
from generators.families.counterfactual import CounterfactualSettings, create
from generators.families.translation import create as create_translator
from generators.sample import Sample
from generators.translation.config import TranslationSettings
from tests.curate.pictures import add_pictures
from tests.curate.site.test_site import HOST, Browser
from tests.generators.families.test_clinical import begun, cases, flat

FORM = {"modality": "OCT", "text": "drusen", "count": "5", "seed": "3", "steps": "2"}


@dataclass
class Bed:
    """A site with two versions behind it."""

    ws: Workspace
    jobs: Jobs
    browser: Browser
    plain: str  # text to image
    edits: str  # a prior and a sentence

    def send(self, path: str, **form: object) -> TestResponse:
        data = {"csrf": self.browser.csrf(), **form}
        answer = self.browser.client.post(
            path, base_url=f"http://{HOST}", data=data, headers={"Origin": f"http://{HOST}"}
        )
        assert answer.status_code == 303, answer.text
        return self.browser.get(answer.headers["Location"])

    def ended(self, page: TestResponse) -> str:
        """Wait until nothing on the page is under way."""
        path = page.request.path
        while "hx-trigger" in (text := self.browser.get(path).text.partition("<main")[2]):
            time.sleep(0.05)
        return text


@pytest.fixture
def bed(workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path) -> Iterator[Bed]:
    edits = create(CounterfactualSettings(side=16, width=16), Beginning([]))
    ids = []
    for name, generator in (("plain", tiny_generator), ("edits", edits)):
        generator.save(tmp_path / name)
        row = save_version(
            workspace,
            tmp_path / name,
            generator_name=name,
            family=generator.family,
            how_made="imported",
        )
        ids.append(row.id)
    workspace.session.commit()
    sessions = Sessions()
    with closing(Jobs(workspace.folder, work)) as jobs:
        app = site_app(workspace, sessions, jobs, hosts=[HOST])
        browser = Browser(app, sessions.invite("lead", may_act=True))
        yield Bed(workspace, jobs, browser, *ids)


def test_the_version_at_first_is_none_that_a_round_rejected(bed: Bed) -> None:
    chosen = re.compile(r'<option value="([0-9a-f]+)"[^>]*selected')
    assert chosen.findall(bed.browser.get("/try").text) == [bed.edits]
    rejected = Round(
        loop_name="loop",
        number=1,
        state="rejected",
        base_version_id=bed.plain,
        start_version_id=bed.plain,
        new_version_id=bed.edits,
    )
    bed.ws.session.add(rejected)
    bed.ws.session.commit()
    assert chosen.findall(bed.browser.get("/try").text) == [bed.plain]


def rows(ws: Workspace) -> list[str]:
    found = queries.images.images(ws.session, origin="synthetic")
    return [image.file_sha256 for image, _ in sorted(found, key=lambda one: one[0].seed or 0)]


@pytest.mark.slow
def test_what_is_tried_is_what_the_command_makes_marked_and_stored_once_it_is_kept(
    bed: Bed,
) -> None:
    known = {path for path in bed.ws.folder.rglob("*") if "cache" not in path.parts}
    page = bed.send("/try", version=bed.plain, **FORM)
    text = bed.ended(page)
    archive = bed.browser.get(re.findall(r'href="(/try/[^"]+zip)"', text)[0]).data
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        assert packed.namelist() == [f"{n}.png" for n in range(5)]
        contents = [packed.read(name) for name in packed.namelist()]
    for content in contents:
        with PillowImage.open(io.BytesIO(content)) as image:
            assert "trainedAlgorithmicMedia" in str(image.info)
    shown = re.findall(r'<img src="(/try/[^"]+)"', text)
    assert [bed.browser.get(path).data for path in shown] == contents
    assert rows(bed.ws) == []
    assert {path for path in bed.ws.folder.rglob("*") if "cache" not in path.parts} == known
    said = re.findall(r"<code>(curate generate [^<]+)</code>", text)
    assert len(said) == 1
    kept = bed.ended(bed.send(f"{page.request.path}/keep"))
    assert "Kept:" in kept and "5 images" in kept
    stored = [bed.ws.store.get(sha256) for sha256 in rows(bed.ws)]
    assert stored == [unmarked(content) for content in contents]
    arguments = [*said[0].split()[1:], "--json", "-w", str(bed.ws.folder)]
    answer = CliRunner().invoke(command_line, arguments)
    assert answer.exit_code == 0, answer.output
    [run] = json.loads(answer.stdout)["runs"]
    assert (run["made"], run["already"]) == (0, 5)  # the command means the same images
    assert examine(bed.ws).is_whole


@pytest.mark.slow
def test_an_edit_asks_for_a_prior_and_both_scales_and_a_file_stays_nowhere(bed: Bed) -> None:
    path = f"/try?version={bed.edits}"
    while "Opening the version" in (text := bed.browser.get(path).text):
        time.sleep(0.05)
    assert 'name="file:prior"' in text and 'name="image_guidance"' in text
    assert 'name="record:' not in text and "file:source" not in text
    [like] = add_pictures(bed.ws, 1, modality="CXR", first_seed=7)
    begun = bed.browser.get(f"{path}&like={like.id}").text
    assert f'name="image:prior" value="{like.id}"' in begun and 'value="finding 0"' in begun
    assert bed.browser.get(f"{path}&like=nothing").status_code == 200
    num_files = queries.files.num_files(bed.ws.session)
    film = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    form = {**FORM, "version": bed.edits, "modality": "CXR", "text": "No change.", "count": "1"}
    scales = {"guidance": "2", "image_guidance": "1.5"}
    sent = {"file:prior": (io.BytesIO(png_bytes(film)), "film.png")}
    by_file = bed.ended(bed.send("/try", **form, **scales, **sent))
    assert "--prior film.png" in by_file and "--image-guidance 1.5" in by_file
    assert queries.files.num_files(bed.ws.session) == num_files and examine(bed.ws).is_whole
    [image] = add_pictures(bed.ws, 1, modality="CXR")
    by_id = bed.ended(bed.send("/try", **form, **scales, **{"image:prior": str(image.id)}))
    assert "1 of 1" not in by_id and f"--prior {image.id}" in by_id
    wrong = {"file:prior": (io.BytesIO(b"no image"), "notes.txt")}
    refused = bed.ended(bed.send("/try", **form, **wrong))
    assert 'role="alert"' in refused and "not an image of a known kind" in refused
    assert rows(bed.ws) == []


@pytest.mark.slow
def test_two_texts_share_their_noise_a_killed_try_leaves_the_workspace_whole(bed: Bed) -> None:
    text = bed.ended(bed.send("/try", version=bed.plain, **FORM, other_text="normal"))
    assert "--paired-seeds" in text and text.count("<figcaption") == 15 and "What differs" in text
    shown = re.findall(r'<img src="(/try/[^"]+)"', text)
    left, right, apart = (array_of(bed.browser.get(shown[at]).data) for at in (0, 5, 10))
    differs = np.abs(left.astype(float) - right)
    assert differs.max() > 0 and apart.shape == left.shape
    np.testing.assert_array_equal(apart, np.rint(differs * 255 / differs.max()))
    assert f"at most {100 * differs.max() / 255:.0f} % of white" in text
    page = bed.send("/try", version=bed.plain, **{**FORM, "count": "16", "steps": "250"})
    job_id = page.request.path.split("/")[-1]
    while (job := bed.jobs.find(job_id)) is None or not job.parts:
        time.sleep(0.01)
    assert bed.jobs._process is not None
    bed.jobs._process.kill()
    text = bed.ended(page)
    job = bed.jobs.find(job_id)
    assert "Ask again" in text and job is not None
    assert job.state == "failed" and len(job.parts) < 16
    assert examine(bed.ws).is_whole and rows(bed.ws) == []
    page = bed.send("/try", version=bed.plain, **{**FORM, "count": "16", "steps": "250"})
    assert "It was cancelled." in bed.ended(bed.send(f"{page.request.path}/cancel"))


def test_what_cannot_be_meant_is_refused(bed: Bed) -> None:
    browser = bed.browser
    assert browser.get("/try?version=nobody").status_code == 404
    assert browser.get("/try/0").status_code == 404
    data = {"csrf": browser.csrf(), **FORM, "version": bed.plain}
    wrong: list[dict[str, str]] = [
        {"count": "17"},
        {"count": "0"},
        {"seed": "-1"},
        {"steps": "x"},
        {"guidance": "nan"},
        {"guidance": "1e9"},
        {"text": " "},
        {"modality": "MRT"},
        {"other_version": bed.edits, "other_text": "normal"},
    ]
    for changed in wrong:
        assert browser.post("/try", data | changed).status_code == 400, changed
    assert browser.post("/try", data | {"csrf": "guessed"}).status_code == 403
    assert browser.post("/try", data | {"version": "f" * 64}).status_code == 404


def test_inputs_follow_what_the_version_declares(bed: Bed) -> None:
    bench = Bench()
    assert bench.inputs(bed.ws, bed.plain)["roles"] == []
    assert bench.inputs(bed.ws, bed.edits)["roles"] == ["prior"]
    assert bench.inputs(bed.ws, bed.edits)["shape"] == [1, 16, 16]


def imported(ws: Workspace, folder: Path, generator: DiffusionGenerator) -> str:
    generator.save(folder)
    row = save_version(
        ws, folder, generator_name="own", family=generator.family, how_made="imported"
    )
    ws.session.commit()
    return row.id


def stored(ws: Workspace, sample: Sample) -> str:
    """Put a condition image into the store, as an import does; return its hash."""
    encoded = encode(sample)
    [sha256] = queries.files.add_files(
        ws.session, ws.store, [(encoded.content, encoded.media_type)]
    )
    ws.session.commit()
    return sha256


def kept_as_tried(ws: Workspace, wish: Wish) -> list[list[bytes]]:
    """Return the images of each column, which are those that keeping makes, to the last byte."""
    tried = [*Bench().tried(ws, wish)]
    contents = [
        [one.content for one in tried if one.column == column]
        for column in range(len(wish.columns))
    ]
    done = [*keep(ws, wish)]
    for run, own in zip(done, contents, strict=True):
        found = queries.images.images(ws.session, run_id=run["run_id"])
        rows = sorted(found, key=lambda one: one[0].seed or 0)
        assert [marked(ws.store.get(image.file_sha256)) for image, _ in rows] == own
    return contents


@pytest.mark.parametrize("axes", [2, 3])
def test_a_clinical_version_takes_a_record_and_a_mask_and_shows_what_a_field_does(
    workspace: Workspace, tmp_path: Path, axes: int
) -> None:
    examples = cases() if axes == 3 else flat(cases())
    version = imported(workspace, tmp_path / "own", begun(examples))
    declared = Bench().inputs(workspace, version)
    assert declared["roles"] == ["mask"] and declared["shape"] == [1, *(8,) * axes]
    [smoking] = [one for one in declared["fields"] if one["name"] == "smoking"]
    assert {"never", "current"} <= set(smoking["values"])
    _, prompt = examples[0]
    form = {**FORM, "version": version, "modality": "ChestCT", "text": "a chest", "count": "2"}
    form |= {f"record:{name}": str(value) for name, value in prompt.record.items()}
    form |= {"record:smoking": "never", "other_field": "smoking", "other_value": "current"}
    form |= {"image:mask": stored(workspace, prompt.images["mask"])}
    wish = wish_of(form, {})
    assert wish.is_paired and [wish.title_of(column) for column in (0, 1)] == [
        "a chest, smoking: never",
        "a chest, smoking: current",
    ]
    never, current = kept_as_tried(workspace, wish)
    assert len(never) == len(current) == 2 and never != current
    mask = workspace.store.get(form.pop("image:mask"))
    sent = wish_of(form, {"mask": ("mask.NII.GZ" if axes == 3 else "mask.png", mask)})
    by_file = [one.content for one in Bench().tried(workspace, sent)]
    assert sorted(by_file) == sorted([*never, *current])
    records = {
        prompt.record["smoking"]
        for _, prompt in queries.images.images(workspace.session, origin="synthetic")
    }
    assert records == {"never", "current"} and examine(workspace).is_whole


def test_a_translation_version_takes_a_source(workspace: Workspace, tmp_path: Path) -> None:
    settings = TranslationSettings(size=16, channels=(8, 16))
    translator = create_translator(settings, Beginning([]))
    version = imported(workspace, tmp_path / "own", translator)
    assert Bench().inputs(workspace, version)["roles"] == ["source"]
    images = add_pictures(workspace, 2, modality="BrainMRI")
    form = {**FORM, "version": version, "modality": "BrainMRI", "text": "the other contrast"}
    made = [
        kept_as_tried(workspace, wish_of({**form, "image:source": str(image.id)}, {}))[0]
        for image in images
    ]
    assert [len(one) for one in made] == [5, 5] and made[0] != made[1]
    large = np.zeros((24, 24), np.uint8)
    wish = wish_of(form, {"source": ("large.png", png_bytes(large))})
    with pytest.raises(GeneratorError, match="curate translate"):
        [*Bench().tried(workspace, wish)]


def test_one_field_beside_it_is_a_second_row_of_the_sheet() -> None:
    form = {**FORM, "version": "a" * 64, "record:age": "61", "x": "y"}
    wish = wish_of({**form, "other_field": "smoking", "other_value": "never"}, {})
    assert wish.sheet() == (
        "modality,text,record:age,record:smoking\nOCT,drusen,61,\nOCT,drusen,61,never\n"
    )
    assert "--paired-seeds" in wish.commands()[0] and len(wish.commands()) == 1
    assert not wish_of({**form, "other_field": "age", "other_value": "61"}, {}).other
    with pytest.raises(CurateError, match="one at once"):
        wish_of({**form, "other_field": "age", "other_value": "5", "other_text": "b"}, {})


def test_a_wish_with_a_record_is_a_sheet() -> None:
    form = {**FORM, "version": "a" * 64, "record:age": "61", "record:smoking": "never", "x": "y"}
    wish = wish_of({**form, "image:mask": "b" * 64}, {})
    assert wish.record == {"age": 61, "smoking": "never"}
    assert wish.sheet() == (
        f"modality,text,mask,record:age,record:smoking\nOCT,drusen,{'b' * 64},61,never\n"
    )
    assert wish.commands() == [
        f"curate generate --version {'a' * 12} --prompts sheet.csv --count 5 --seed 3 --steps 2 "
        "--guidance 1 --batch-size 4"
    ]
    plain = replace(wish, record={}, images={})
    assert plain.sheet() == "" and "--prompt drusen" in plain.commands()[0]
    with pytest.raises(CurateError, match="goes from 1 to 16"):
        wish_of({**form, "count": "99"}, {})
