"""Prompts through several text encoders at once, as SDXL and Stable Diffusion 3 have them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generators.base import Conditions, Entries, Prompt
from generators.errors import GeneratorError
from generators.families.parts import quietly

KEPT_TEXTS = 256  # embeddings remembered between calls


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer with its encoder; `length` tokens are read, padded."""

    tokenizer: Any
    encoder: Any
    length: int

    def ids(self, text: str) -> Tensor:
        """Return token ids [1, length]; a longer text is refused."""
        found = self.tokenizer(text).input_ids
        if len(found) > self.length:
            raise GeneratorError(
                f"The text {text!r} is {len(found)} tokens long, but this generator reads "
                f"{self.length}. Shorten it: what is cut off would be ignored."
            )
        padding = [self.tokenizer.pad_token_id] * (self.length - len(found))
        return torch.tensor([found + padding], device=self.encoder.device)

    def penultimate(self, text: str) -> tuple[Tensor, Tensor]:
        """Return CLIP's hidden states [1, L, D] before the last layer, and its first output."""
        output = self.encoder(self.ids(text), output_hidden_states=True)
        return output.hidden_states[-2].float(), output[0].float()

    def last(self, text: str) -> Tensor:
        """Return the last hidden states [1, L, D]."""
        hidden_1LD: Tensor = self.encoder(self.ids(text))[0]
        return hidden_1LD.float()


class TextsConditioner:
    """The modality and the description as one text; a family says what it becomes in `embed`."""

    def __init__(self, encoders: Sequence[TextEncoder | None]) -> None:
        """Take the encoders in the folder's order; None where a checkpoint goes without one."""
        self.encoders = list(encoders)
        self._remembered = lru_cache(maxsize=KEPT_TEXTS)(self.embed)

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return one row a prompt. Equal texts are encoded once, each in a pass of its own."""
        texts = [f"{prompt.modality} {prompt.text}".strip() for prompt in prompts]
        with torch.no_grad():
            rows = {text: Conditions(self._remembered(text)) for text in dict.fromkeys(texts)}
        return Conditions.join([rows[text] for text in texts])

    def unconditional(self, count: int) -> Conditions:
        """Return what an empty text becomes, `count` times."""
        return self([Prompt("", "")] * count)

    def embed(self, text: str) -> dict[str, Tensor]:
        """Return the parts of one text, one row each."""
        raise NotImplementedError

    def to(self, device: torch.device | str) -> "TextsConditioner":
        """Move the text encoders."""
        for encoder in filter(None, self.encoders):
            encoder.encoder.to(device)
        self._remembered.cache_clear()
        return self

    def save(self, folder: Path) -> Entries:
        """Write tokenizers and text encoders; return their `model_index.json` entries."""
        index: Entries = {}
        for place, encoder in enumerate(self.encoders, 1):
            ending = "" if place == 1 else f"_{place}"
            for part in ("tokenizer", "text_encoder"):
                index[f"{part}{ending}"] = [None, None]
            if encoder is None:
                continue
            encoder.tokenizer("")  # forgets padding that its maker may have set
            encoder.tokenizer.save_pretrained(folder / f"tokenizer{ending}")
            with quietly():
                encoder.encoder.save_pretrained(folder / f"text_encoder{ending}")
            for part, saved in (
                ("tokenizer", encoder.tokenizer),
                ("text_encoder", encoder.encoder),
            ):
                index[f"{part}{ending}"] = ["transformers", type(saved).__name__]
        return index
