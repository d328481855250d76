"""What the worker does for Try: open versions, say what they take, make images, keep them."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curate.errors import USER_ERRORS, CurateError
from curate.importing.conditions import LABEL_ROLE, Condition, ConditionImages, new_prompt
from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.nifti import SUFFIXES
from curate.importing.picture import Picture
from curate.importing.plain_images import picture_in
from curate.importing.volumes import volume_picture
from curate.production.images import condition_image, noise_seeds, samples_of
from curate.production.plan import plan_run
from curate.production.run import chosen_device, run_plan
from curate.production.versions import load_version
from curate.samples.formats import PNG, encode
from curate.samples.marks import marked
from curate.samples.pixels import pixels_hash
from curate.scoring.score import scores_of_samples
from curate.site.wish import Tried, Wish
from curate.verified import verified_path
from curate.workspace import Workspace
from db import queries
from db.queries.prompts import NewPrompt
from generators.base import Generator, Prompt
from generators.config import SamplingSettings
from generators.families.clinical_text import RecordConditioner
from rewards.model import RewardModel

OPEN = 2  # versions that stay warm


class Bench:
    """The versions that are open."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: OrderedDict[str, Generator] = OrderedDict()
        self._reward: tuple[str, RewardModel | None] = ("", None)

    def generator(self, ws: Workspace, version_id: str) -> Generator:
        """Return an open version; the longest unused one is closed for it."""
        if version_id not in self._open:
            self._open[version_id] = load_version(ws, version_id).to(chosen_device("auto"))
        self._open.move_to_end(version_id)
        while len(self._open) > OPEN:
            self._open.popitem(last=False)
        return self._open[version_id]

    def reward_model(self, ws: Workspace) -> RewardModel | None:
        """Return the latest reward model, open; None where there is none that opens here."""
        rows = queries.reward_models.reward_models(ws.session, "reward")
        if rows and rows[-1].id != self._reward[0]:
            model = None
            with suppress(*USER_ERRORS):  # images are shown without a score then
                model = RewardModel.load(verified_path(ws, rows[-1].file_sha256))
            self._reward = rows[-1].id, model
        return self._reward[1]

    def inputs(self, ws: Workspace, version_id: str) -> dict[str, Any]:
        """Return what a version declares: images it reads, fields of its record, its output."""
        generator = self.generator(ws, version_id)
        conditioner = getattr(generator, "conditioner", None)
        fields = conditioner.fields.fields if isinstance(conditioner, RecordConditioner) else ()
        return {
            "roles": sorted(generator.reads),
            "fields": [
                {"name": one.name, "values": list(one.values), "unit": one.unit, "range": one.range}
                for one in fields
            ],
            "shape": list(generator.output.shape),
            "kind": generator.output.kind,
        }

    def tried(self, ws: Workspace, wish: Wish) -> Iterator[Tried]:
        """Yield the images of all columns, batch by batch, marked as exported ones are."""
        settings = settings_of(ws, wish)
        asked = [_prompt(ws, wish, column) for column in range(len(wish.columns))]
        for start in range(0, wish.count, settings.batch_size):
            numbers = range(start, min(start + settings.batch_size, wish.count))
            for column, (new, prompt) in enumerate(asked):
                generator = self.generator(ws, wish.columns[column][0])
                seeds = [wish.seed + number for number in numbers]
                noise = noise_seeds([new.prompt_id] * len(seeds), seeds, settings)
                made = samples_of(generator, [prompt] * len(seeds), noise, settings)
                model = self.reward_model(ws)
                scores: list[tuple[float, float] | None] = [None] * len(made)
                if model and (found := scores_of_samples(model, prompt, made)):
                    scores = [*found]
                for number, sample, score in zip(numbers, made, scores, strict=True):
                    yield Tried(column, number, marked(encode(sample).content), score)


def keep(ws: Workspace, wish: Wish) -> Iterator[dict[str, Any]]:
    """Make the same images into rows, as `curate generate` does, and yield what each run did."""
    for column, (version_id, _) in enumerate(wish.columns):
        new, _ = _prompt(ws, wish, column, keep=True)
        [prompt_id] = queries.prompts.add_prompts(ws.session, [new])
        row = queries.prompts.prompts_by_id(ws.session, [prompt_id])[prompt_id]
        version = queries.versions.find_version(ws.session, version_id)
        plan = plan_run(
            ws,
            version,
            [row],
            count=wish.count,
            first_seed=wish.seed,
            settings=settings_of(ws, wish),
        )
        done = run_plan(ws, plan, lambda _: None)
        yield {"run_id": done.run_id, "made": done.made, "already": done.already}


def settings_of(ws: Workspace, wish: Wish) -> SamplingSettings:
    """Return how a wish's images are sampled in this workspace."""
    return replace(wish.settings, own_noise=ws.settings.own_noise and not wish.is_paired)


def _prompt(
    ws: Workspace, wish: Wish, column: int, *, keep: bool = False
) -> tuple[NewPrompt, Prompt]:
    """Return a prompt as a row says it and as generators take it; `keep` stores its files."""
    named = {role: image for role, image in wish.images.items() if isinstance(image, str)}
    try:
        found = ConditionImages(ws, Path(), keep=False).of(named, wish.modality)
        contents = {role: ws.store.get(one.file_sha256) for role, one in found.items()}
        for role, image in wish.images.items():
            if not isinstance(image, str):
                found[role], contents[role] = _sent_in(
                    ws, role, *image, modality=wish.modality, keep=keep
                )
    except Refused as reason:
        raise CurateError(f"{reason}.") from reason
    text, record = wish.columns[column][1], wish.record_of(column)
    new = new_prompt(wish.modality, text, None, record, found)
    images = {role: condition_image(content, role) for role, content in contents.items()}
    return new, Prompt(wish.modality, text, None, record, images)


def _sent_in(
    ws: Workspace, role: str, name: str, content: bytes, *, modality: str, keep: bool
) -> tuple[Condition, bytes]:
    """Return a file of the form as a condition image, as an import would read it."""
    if name.lower().endswith(SUFFIXES):
        picture = _volume_in(content, name, modality, labels=role == LABEL_ROLE)
    else:
        picture = picture_in(content, Path(name), ImportConfig(), lambda _: None)
    if role == LABEL_ROLE and picture.media_type == PNG and picture.array.ndim == 3:
        raise Refused(f"{name} is in colour: a mask has one channel, of class numbers")
    pixels = pixels_hash(picture.array)
    same = queries.images.real_images_with_pixels(ws.session, [pixels]).get(pixels)
    if keep:
        queries.files.add_files(ws.session, ws.store, [(picture.encoded, picture.media_type)])
    sha256 = hashlib.sha256(picture.encoded).hexdigest()
    return Condition(sha256, same[0].id if same else None), picture.encoded


def _volume_in(content: bytes, name: str, modality: str, *, labels: bool) -> Picture:
    """Read NIfTI, of which the reader wants a file: one that its owner alone may read, for now."""
    with TemporaryDirectory(prefix="curate-try-") as folder:
        file = Path(folder) / f"volume{'.nii.gz' if name.lower().endswith('.gz') else '.nii'}"
        file.write_bytes(content)
        return volume_picture(
            file, ImportConfig(), str, lambda _: None, modality=modality, labels=labels
        )
