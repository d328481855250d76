"""Prompts as numbers: which modality, and a hashed bag of words and word pairs.

Shapes: P features.
"""

import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor


def prompt_features(modality: str, text: str, *, modalities: Sequence[str], buckets: int) -> Tensor:
    """Return float32 [P]: one place a known modality, then the words, of length 1 in all."""
    modality_M = torch.tensor([float(modality == known) for known in modalities])
    words_W = torch.zeros(buckets)
    words = re.findall(r"\w+", text.casefold())
    pairs = [f"{first} {second}" for first, second in zip(words, words[1:], strict=False)]
    for term in words + pairs:
        code = zlib.crc32(term.encode())
        words_W[(code >> 1) % buckets] += 1.0 if code & 1 else -1.0  # signs: collisions cancel
    return torch.cat([modality_M, words_W / words_W.norm().clamp(min=1e-6)])
