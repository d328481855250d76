"""The chosen images as examples: their prompts, the keys of their latents, what is kept of both."""

from functools import partial
from typing import Any

from curate.production.images import StoredImages
from curate.progress import ShowProgress
from curate.training.config import LessonConfig
from curate.training.kept_tensors import KeptTensors
from curate.training.material import Frame, KeptEmbeddings, keep_latents
from curate.training.selection import Selection
from curate.workspace import Workspace
from db import queries
from db.queries.images import ImageToLearn
from generators.base import Prompt, Trainable
from generators.training.config import TrainingConfig
from generators.training.lesson import Drop, Example, Lesson, Pool, shown_prompt


class Book:
    """The chosen images as examples: with their prompts and the keys of their latents."""

    def __init__(
        self,
        ws: Workspace,
        chosen: Selection,
        frame: Frame,
        config: LessonConfig,
        training: TrainingConfig,
    ) -> None:
        self._ws, self._frame, self._config, self._training = ws, frame, config, training
        self.chosen = chosen
        everything = (*chosen.learned, *chosen.replayed, *chosen.validated)
        ids = list(dict.fromkeys(image.prompt_id for image in everything))
        self._conditions = queries.prompts.conditions_of(ws.session, ids)
        self._prompts: dict[tuple[str, str, str, bool], Prompt] = {}
        mirror = config.mirror
        self.learned = [self._example(image, mirror) for image in chosen.learned]
        self.replayed = [self._example(image, mirror) for image in chosen.replayed]
        self.validated = [self._example(image, False) for image in chosen.validated]

    def _example(self, image: ImageToLearn, mirror: bool) -> Example:
        file = image.file_sha256
        synthetic = image.origin == "synthetic" and self._config.replay == "prompts"
        group = f"{image.modality} (replayed)" if synthetic else image.modality
        mirrored = self._frame.key(file, mirrored=True)
        return Example(
            image=self._frame.key(file),
            prompt=self._prompt(image),
            group=group,
            mirrored=Example(mirrored, self._prompt(image, mirrored=True), group)
            if mirror
            else None,
        )

    def _prompt(self, image: ImageToLearn, *, mirrored: bool = False) -> Prompt:
        """Return what the image shows; its condition images are framed and mirrored as it is."""
        own = dict.fromkeys(self._frame.itself, image.file_sha256)
        files = {**self._conditions.get(image.prompt_id, {}), **own}
        # a captioned image has a text of its own
        itself = image.file_sha256 if own else ""
        known = (image.prompt_id, image.text, itself, mirrored and bool(files))
        if known not in self._prompts:
            shown = partial(self._frame.shown_sample, mirrored=mirrored)
            images = StoredImages(self._ws.store, files, shown)
            self._prompts[known] = Prompt(
                image.modality, image.text, image.label, image.record, images
            )
        return self._prompts[known]

    def fingerprint(self) -> list[list[list[Any]]]:
        """Return what tells this book from another: every image's key with its prompt, in order.

        Condition images are named by role and SHA-256, where a prompt has any.
        """
        chosen = self.chosen
        return [
            [
                [
                    self._frame.key(image.file_sha256),
                    image.modality,
                    image.text,
                    image.label,
                    dict(image.record),
                    *filter(None, [self._conditions.get(image.prompt_id)]),
                ]
                for image in part
            ]
            for part in (chosen.learned, chosen.replayed, chosen.validated)
        ]

    def lesson(self, generator: Trainable, kept: KeptTensors, show: ShowProgress) -> Lesson:
        """Compute what is not kept yet, and return what the training reads."""
        everything = (*self.chosen.learned, *self.chosen.replayed, *self.chosen.validated)
        mirror = (False, True) if self._config.mirror else (False,)
        latents = {
            self._frame.key(image.file_sha256, mirrored=side): (image.file_sha256, side)
            for image in everything
            for side in mirror
        }
        keep_latents(self._ws, kept, generator, self._frame, latents, show)
        embeddings = KeptEmbeddings(kept, generator, self._frame.codec_id)
        if not self._training.train_text_encoder:
            drops = [Drop.NOTHING]
            drops += [Drop.TEXT] if self._training.drop_text else []
            drops += [Drop.MODALITY] if self._training.drop_modality else []
            drops += [Drop.WORDS] if self._training.drop_words else []
            forms = [shown_prompt(one, drop) for one in self._prompts.values() for drop in drops]
            embeddings.fill(forms, show)
        replays = bool(self.replayed)
        share = self._config.replay_share
        pools = [Pool(self.learned, 1 - share if replays else 1.0)]
        return Lesson(
            pools=[*pools, Pool(self.replayed, share)] if replays else pools,
            validation=self.validated,
            latents=kept.__getitem__,
            embed=embeddings,
        )
