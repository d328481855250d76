"""A workspace in a notebook: its rows as tables, its images as pictures. Nothing is written to it.

    import curate

    ws = curate.open("study")
    ws.images(modality="OCT", least_score=0.5)

Each call opens the database for reading, without a lock and without bringing its tables up to date,
and closes it again: commands that write go on meanwhile.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
from PIL import Image as PillowImage

from curate.atlas.config import SearchOptions
from curate.atlas.found import Found
from curate.atlas.likeness import Searcher, search
from curate.errors import CurateError
from curate.modalities import canonical_modality
from curate.production.images import noise_seeds, samples_of
from curate.production.versions import load_version
from curate.prompts.sheet import prompts_from_options
from curate.release.manifest import parse_manifest
from curate.release.remake import sample_again
from curate.release.verify import likeness
from curate.samples.formats import decode
from curate.samples.rendered import levels_of, montage_of
from curate.workspace import Workspace, read_workspace
from db import queries
from db.models import GeneratorVersion, Release, Round, Score
from db.queries.gallery import Card, Filter
from db.queries.ratings import RatingView
from generators.base import Generator, Prompt
from generators.config import SamplingSettings
from generators.sample import Sample

ALL = 2**31 - 1  # rows
SHORT = 12  # digits of an id that people read


class OpenStudy:
    """A workspace, open for reading."""

    def __init__(self, folder: Path | str) -> None:
        """Name the workspace's folder; CurateError where it is none, or an older curate's."""
        self.folder = Path(folder).absolute()
        with self.reading():
            pass

    def __repr__(self) -> str:
        """Say which workspace it is."""
        return f"curate.open({str(self.folder)!r})"

    @contextmanager
    def reading(self) -> Iterator[Workspace]:
        """Open it for one question."""
        with read_workspace(self.folder) as ws:
            yield ws

    def images(
        self,
        *,
        modality: str | None = None,
        label: str | None = None,
        words: str | None = None,
        origin: str | None = None,
        version: str | None = None,
        seed: int | None = None,
        rated: bool | None = None,
        least_score: float | None = None,
        most_score: float | None = None,
        release: str | None = None,
        decision: str | None = None,
        order: str = "newest",
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Return images with prompt, version, seed and the latest reward model's score.

        `order` is "newest", "best", "worst" or "least-sure"; `release` and `decision` ("kept" or
        "rejected") are a release's. By score, images without one are left out.
        """
        with self.reading() as ws:
            models = queries.reward_models.reward_models(ws.session, "reward")
            if order != "newest" and not models:
                raise CurateError(f"order={order!r}: nothing has a score yet. Run `curate score`.")
            wanted = Filter(
                modality=modality and (canonical_modality(modality) or modality),
                label=label,
                words=words,
                origin=origin,
                version_id=version and queries.versions.find_version(ws.session, version).id,
                seed=seed,
                is_rated=rated,
                least_score=least_score,
                most_score=most_score,
                release_id=release and _release(ws, release).id,
                decision=decision,
            )
            found = queries.gallery.cards(
                ws.session,
                wanted,
                order=order,
                reward_model_id=models[-1].id if models else None,
                limit=limit or ALL,
            )
        return _table((asdict(card) for card in found), list(Card.__dataclass_fields__))

    def search(
        self,
        wanted: "str | Path | UUID | PillowImage.Image",
        *,
        modality: str | None = None,
        count: int = 8,
    ) -> pd.DataFrame:
        """Return the vetted images nearest to a picture, a file, an image's id or words.

        As `curate search`: up to `count` real and `count` synthetic ones, nearest first. For
        research and teaching only.
        """
        options = SearchOptions(modality=modality, count=count)
        with self.reading() as ws:
            if isinstance(wanted, PillowImage.Image):
                content = io.BytesIO()
                wanted.save(content, "PNG")
                found = Searcher().by_file(ws, content.getvalue(), "picture.png", options)
            else:
                found = search(ws, str(wanted), options)
        return _table((asdict(one) for one in found), list(Found.__dataclass_fields__))

    def ratings(self, *, of_open_campaigns: bool = False) -> pd.DataFrame:
        """Return the ratings that count, a row each, with rater, criterion, value and image.

        Those of campaigns that are not done stay hidden unless asked for: seen too early, they
        sway who is still to rate. Column `simulated` says which no person gave.
        """
        with self.reading() as ws:
            found = queries.ratings.current_ratings(ws.session)
            waiting = {
                row.campaign.id
                for row in queries.campaigns.progress_of_campaigns(ws.session)
                if row.is_waited_for
            }
            names = {row.id: row.name for row in queries.campaigns.campaigns(ws.session)}
        told = (
            {**asdict(view), "campaign": names[view.campaign_id]}
            for view in found
            if of_open_campaigns or view.campaign_id not in waiting
        )
        return _table(told, [*RatingView.__dataclass_fields__, "campaign"])

    def scores(self, *, reward_model: str | None = None) -> pd.DataFrame:
        """Return what reward models say of images: `mean` (0 to 1), `spread`, `created_at`."""
        with self.reading() as ws:
            model = reward_model and queries.reward_models.find_reward_model(
                ws.session, reward_model
            )
            found = queries.reward_models.scores(ws.session, model.id if model else None)
        return _table((row.model_dump() for row in found), list(Score.model_fields))

    def versions(self) -> pd.DataFrame:
        """Return the generator versions, oldest first, with parent, settings and figures."""
        with self.reading() as ws:
            found = queries.versions.versions(ws.session)
        return _table((row.model_dump() for row in found), list(GeneratorVersion.model_fields))

    def rounds(self) -> pd.DataFrame:
        """Return the rounds of all loops: state, versions, campaigns, figures, reasons."""
        with self.reading() as ws:
            found = queries.rounds.rounds(ws.session)
        return _table((row.model_dump() for row in found), list(Round.model_fields))

    def releases(self) -> pd.DataFrame:
        """Return the releases, oldest first, with their rule and evidence."""
        with self.reading() as ws:
            found = queries.releases.releases(ws.session)
        return _table((row.model_dump() for row in found), list(Release.model_fields))

    def image(self, image_id: UUID | str) -> "StudyPicture":
        """Return one image by its id, as the column `image_id` has it."""
        with self.reading() as ws:
            try:
                image, prompt = queries.images.images_by_id(ws.session, [UUID(str(image_id))])[
                    UUID(str(image_id))
                ]
            except (KeyError, ValueError) as error:
                raise CurateError(
                    f"No image {image_id!r} here. `.images()` has all ids, as `image_id`."
                ) from error
            content = ws.store.get(image.file_sha256)
        row = {**image.model_dump(), "modality": prompt.modality, "text": prompt.text}
        return StudyPicture(self, UUID(str(image_id)), row, decode(content))

    def generator(self, version: str = "latest") -> "StudyGenerator":
        """Open a generator version, by an id or its beginning; it is loaded when first asked."""
        with self.reading() as ws:
            row = queries.versions.find_version(ws.session, version)
        return StudyGenerator(self, row.id)

    def release(self, release: str = "latest") -> "StudyRelease":
        """Return a release by its id, the beginning of one, or its name."""
        with self.reading() as ws:
            row = _release(ws, release)
            manifest = parse_manifest(ws.store.get(row.manifest_sha256), name=row.name)
        return StudyRelease(self, row.id, row.name, manifest.raw)


@dataclass(frozen=True)
class StudyPicture:
    """One image: its row as `values`, its numbers as `sample`."""

    study: OpenStudy
    image_id: UUID
    values: Mapping[str, Any]
    sample: Sample

    def pil(self) -> PillowImage.Image:
        """Return it as a picture; a volume as a montage of its slices."""
        return picture_of(self.sample)

    def lineage(self) -> pd.DataFrame:
        """Return the versions that it descends from, its own first; of a real image no row."""
        with self.study.reading() as ws:
            own = self.values["version_id"]
            line = queries.versions.ancestry(ws.session, own) if own else []
            made_in = queries.rounds.rounds_that_made(ws.session, [row.id for row in line])
        told = (
            {
                "version_id": row.id,
                "generator": row.generator_name,
                "how_made": row.how_made,
                "parent_id": row.parent_id,
                "reward_model_id": row.reward_model_id,
                "loop": made_in[row.id].loop_name if row.id in made_in else None,
                "round": made_in[row.id].number if row.id in made_in else None,
                "state": made_in[row.id].state if row.id in made_in else None,
            }
            for row in line
        )
        columns = ["version_id", "generator", "how_made", "parent_id", "reward_model_id"]
        return _table(told, [*columns, "loop", "round", "state"])

    def again(self) -> "MadeOnceMore":
        """Make it again from version, prompt, seed and settings, and compare; keep nothing."""
        with self.study.reading() as ws:
            image = queries.images.images_by_id(ws.session, [self.image_id])[self.image_id][0]
            if image.origin != "synthetic":
                raise CurateError("A real image: nothing here can make it again.")
            sample = sample_again(ws, image)
        return MadeOnceMore(sample, likeness(self.sample, sample))


@dataclass(frozen=True)
class MadeOnceMore:
    """An image made again, and how near it came to the first."""

    sample: Sample
    likeness: str  # "bit-identical", "within 1/255" or "different"

    def pil(self) -> PillowImage.Image:
        """Return it as a picture."""
        return picture_of(self.sample)


@dataclass(frozen=True)
class StudyGenerator:
    """A generator version: call it with a prompt, and it makes pictures that nobody keeps."""

    study: OpenStudy
    version_id: str

    @cached_property
    def generator(self) -> Generator:
        """Return the open generator, on this machine's processor."""
        with self.study.reading() as ws:
            return load_version(ws, self.version_id)

    def __call__(
        self,
        prompt: str,
        *,
        seeds: Iterable[int] = (0,),
        settings: SamplingSettings = SamplingSettings(),  # noqa: B008 (frozen)
    ) -> list[PillowImage.Image]:
        """Return a picture a seed of a prompt such as "OCT: drusen", as `curate generate` would.

        For prompts with condition images or records use `curate generate --prompts`.
        """
        [line] = prompts_from_options([prompt], [])
        wanted = list(seeds)
        with self.study.reading() as ws:
            own = replace(settings, own_noise=ws.settings.own_noise)
        asked = Prompt(line.modality, line.text)
        name = queries.prompts.prompt_hash(modality=line.modality, text=line.text)
        noise = noise_seeds([name] * len(wanted), wanted, own)
        made = []
        for start in range(0, len(wanted), own.batch_size):
            part = noise[start : start + own.batch_size]
            made += samples_of(self.generator, [asked] * len(part), part, own)
        return [picture_of(sample) for sample in made]


@dataclass(frozen=True)
class StudyRelease:
    """A release; `manifest` is all that it says of itself."""

    study: OpenStudy
    release_id: str
    name: str
    manifest: Mapping[str, Any]

    def dataset(self) -> "ReleaseImages":
        """Return its images with their texts, as a sequence that data loaders take."""
        prompts = self.manifest["prompts"]
        synthetic = (
            {
                "path": image["path"],
                "origin": "synthetic",
                "modality": prompts[image["prompt_id"]]["modality"],
                "text": prompts[image["prompt_id"]]["text"],
                "label": prompts[image["prompt_id"]]["label"],
                "score": image["score"],
                "file_sha256": image.get("stored_sha256", image["sha256"]),
            }
            for image in self.manifest["images"]
        )
        real = (
            {**image, "origin": "real", "score": None} for image in self.manifest["real_images"]
        )
        columns = ["path", "origin", "modality", "text", "label", "score", "file_sha256"]
        table = _table([*synthetic, *real], columns)
        return ReleaseImages(self.study, table[columns].sort_values("path", ignore_index=True))


@dataclass(frozen=True)
class ReleaseImages(Sequence[dict[str, Any]]):
    """Images of a release, read from the workspace's store when asked for."""

    study: OpenStudy
    table: pd.DataFrame

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.table)

    def __getitem__(self, place: Any) -> Any:
        """Return one as {"image": a picture, "text": ..., "label": ...}, or some for a slice."""
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        row = self.table.iloc[place]
        with self.study.reading() as ws:
            sample = decode(ws.store.get(str(row["file_sha256"])))
        return {"image": picture_of(sample), **{str(name): value for name, value in row.items()}}


def picture_of(sample: Sample) -> PillowImage.Image:
    """Return a sample as a picture of 8 bits; a volume as a montage."""
    return PillowImage.fromarray(levels_of(montage_of(sample)))


def _release(ws: Workspace, name: str) -> Release:
    """Return the release of this id, beginning of an id or name; the newest for "latest"."""
    known = queries.releases.releases(ws.session)
    found = [r for r in known if r.name == name or (name and r.id.startswith(name))]
    found = list(known[-1:]) if name == "latest" else found
    if len(found) != 1:
        listed = ", ".join(f"{row.name} ({row.id[:SHORT]})" for row in known) or "none"
        raise CurateError(f"{len(found)} releases go by {name!r}. Known: {listed}.")
    return found[0]


def _table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns))
