"""Prompts of records and masks as tensors: a mask's labels as channels, a text in one vector.

The words are those of the table itself, and the encoder is small and learns with the denoiser.
Shapes: B prompts, L tokens, D text features.
"""

import json
import re
import string
import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizer

from generators.base import Conditions, Entries, Prompt
from generators.clinical.config import ClinicalSettings
from generators.clinical.records import FieldMap
from generators.errors import GeneratorError
from generators.families.parts import quietly
from generators.seeds import hashed_seed

KEPT_TEXTS = 256  # remembered between calls
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
READS = "clinical.json"  # beside the tokenizer: what the conditioner reads, and how
PLACEBO = "placebo"  # how the names of fields begin that were drawn by lot
LARGEST_VOCABULARY = 512
POOLED_SCALE = 4.0  # of the sum over a text's words, some tens of them
KNOWN = 0.7  # share of records that say anything of a placebo


class RecordConditioner:
    """The text of a prompt's record, or its own text, and the labels of its mask."""

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        fields: FieldMap,
        labels: Sequence[int],
        patch: Sequence[int],
        units: Sequence[str],
        placebos: int = 0,
    ) -> None:
        """Take what a version holds."""
        self.tokenizer, self.text_encoder, self.fields = tokenizer, text_encoder, fields
        self.labels, self.patch, self.units = list(labels), list(patch), list(units)
        self.placebos = placebos
        self.length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
        self._remembered = lru_cache(maxsize=KEPT_TEXTS)(self._encoded)

    def text_of(self, prompt: Prompt) -> str:
        """Return what is said: the record in its clauses, or else the prompt's own text."""
        if not prompt.record:
            return prompt.text
        own = {k: v for k, v in prompt.record.items() if not k.startswith(f"{PLACEBO} ")}
        lots = [f"{PLACEBO}{k.split()[1]}{v}" for k, v in prompt.record.items() if k not in own]
        return ", ".join([self.fields.build(self.fields.clean(own)), *lots])

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return one row a prompt; each text is encoded in a pass of its own."""
        with torch.no_grad():
            rows = [self._remembered(self.text_of(prompt)) for prompt in prompts]
        return self._joined(prompts, torch.cat(rows))

    def with_gradients(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return what a call returns for a training, with gradients: placebos are drawn by lot."""
        return self._joined(prompts, self._encoded(*(self.text_of(self._lot(p)) for p in prompts)))

    def unconditional(self, count: int) -> Conditions:
        """Return no word and no mask."""
        return self([Prompt("", "")] * count)

    def forget(self) -> None:
        """Drop remembered texts: the encoder has learned."""
        self._remembered.cache_clear()

    def mask_of(self, prompt: Prompt) -> Tensor:
        """Return [labels, *spatial], 1 where the mask has the label; without a mask all 0.

        Raises GeneratorError for a mask that this generator does not know.
        """
        mask = prompt.images.get("mask")
        if mask is None:
            return torch.zeros(len(self.labels), *self.patch)
        array = mask.array[0]
        if array.ndim != len(self.patch):
            raise GeneratorError(
                f"A mask of {array.ndim} axes {list(array.shape)}; this generator makes "
                f"{len(self.patch)}."
            )
        unknown = sorted(set(np.unique(array).tolist()) - set(self.labels))
        if unknown:
            raise GeneratorError(
                f"The mask has label {unknown[0]}, and this generator knows "
                f"{', '.join(map(str, self.labels))}. Bring its labels to those."
            )
        channels = np.stack([array == label for label in self.labels])
        return torch.from_numpy(channels.astype(np.float32))

    def to(self, device: torch.device | str) -> "RecordConditioner":
        """Move the text encoder."""
        self.text_encoder.to(device)
        self.forget()
        return self

    def save(self, folder: Path) -> Entries:
        """Write tokenizer, text encoder and field map; return their `model_index.json` entries."""
        self.tokenizer("")  # forgets padding that its maker may have set
        self.tokenizer.save_pretrained(folder / "tokenizer")
        with quietly():
            self.text_encoder.save_pretrained(folder / "text_encoder")
        reads = {
            "fields": self.fields.to_json(),
            "labels": self.labels,
            "placebos": self.placebos,
        }
        (folder / READS).write_text(json.dumps(reads))
        return {
            "tokenizer": ["transformers", type(self.tokenizer).__name__],
            "text_encoder": ["transformers", type(self.text_encoder).__name__],
        }

    def _lot(self, prompt: Prompt) -> Prompt:
        """Return the prompt with placebos that its record draws: noise that looks like a field."""
        record = dict(prompt.record)
        if not record or any(name.startswith(PLACEBO) for name in record):
            return prompt
        name = json.dumps(record, sort_keys=True, default=str)
        draws = np.random.default_rng(hashed_seed(f"{PLACEBO} {name}")).random((2, self.placebos))
        for number, (known, which) in enumerate(draws.T):
            if known < KNOWN:
                record[f"{PLACEBO} {number}"] = "a" if which < 0.5 else "b"
        return Prompt(prompt.modality, prompt.text, prompt.label, record, prompt.images)

    def _encoded(self, *texts: str) -> Tensor:
        """Return hidden states [B, L, D + 1]; the last feature is 1 for words, 0 for padding."""
        found = [self.tokenizer(text).input_ids for text in texts]
        for text, ids in zip(texts, found, strict=True):
            if len(ids) > self.length:
                raise GeneratorError(
                    f"The text {text[:80]!r} ... is {len(ids)} tokens long, but this generator "
                    f"reads {self.length}: what is cut off would be ignored. Say less, or begin a "
                    f"generator with --set text_length={len(ids)}."
                )
        longest = max(map(len, found))
        is_word = [[1] * len(ids) + [0] * (longest - len(ids)) for ids in found]
        is_word_BL = torch.tensor(is_word, device=self.text_encoder.device)
        padded = [ids + [self.tokenizer.pad_token_id] * (longest - len(ids)) for ids in found]
        ids_BL = torch.tensor(padded, device=self.text_encoder.device)
        hidden = self.text_encoder(ids_BL, attention_mask=is_word_BL).last_hidden_state.float()
        hidden = torch.cat([hidden, is_word_BL[..., None].to(hidden)], dim=-1)
        # padding is never attended to: it only gives all rows one shape
        return torch.nn.functional.pad(hidden, (0, 0, 0, self.length - longest))

    def _joined(self, prompts: Sequence[Prompt], hidden_BLD: Tensor) -> Conditions:
        """Return the conditions of prompts whose texts are encoded."""
        is_word = hidden_BLD[..., -1:]
        # the sum, not the mean: what a word says does not fade among many
        pooled_BD = (hidden_BLD[..., :-1] * is_word).sum(dim=1) / POOLED_SCALE
        masks = torch.stack([self.mask_of(prompt) for prompt in prompts]).to(pooled_BD.device)
        parts = {"channels": masks, "pooled": pooled_BD}
        if "cross-attention" in self.units:
            parts["tokens"] = hidden_BLD
        return Conditions(parts)


def vocabulary(texts: Iterable[str], placebos: int) -> list[str]:
    """Return the words of the texts, commonest first, and letters that spell any other word."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in re.findall(r"[^\W\d_]+", text.casefold()):
            counts[word] = counts.get(word, 0) + 1
    letters = [*string.ascii_lowercase, *string.digits]
    pieces = [*SPECIAL, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    lots = [f"{PLACEBO}{number}{value}" for number in range(placebos) for value in "ab"]
    common = sorted(counts, key=lambda word: (-counts[word], word))
    room = LARGEST_VOCABULARY - len(pieces) - len(lots)
    words = [word for word in common if word not in letters][: max(room, 0)]
    return list(dict.fromkeys([*pieces, *lots, *words]))


def small_bert(words: Sequence[str], settings: ClinicalSettings) -> tuple[Any, Any]:
    """Return a WordPiece tokenizer of these words, and an untrained BERT that reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(words) + "\n", encoding="utf-8")
        tokenizer = BertTokenizer(str(path), model_max_length=settings.text_length)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=settings.text_width,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=4,
        intermediate_size=2 * settings.text_width,
        max_position_embeddings=settings.text_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return tokenizer, BertModel(config, add_pooling_layer=False)
