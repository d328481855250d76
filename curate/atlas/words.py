"""Prompts by words: what a query and a prompt share, words that few prompts have counting more."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from db.models import Prompt


@dataclass(frozen=True)
class PromptWords:
    """Prompts as sets of words."""

    prompts: Sequence[tuple[str, str, frozenset[str]]]  # (id, modality, words)
    num_with: Counter[str]  # prompts that have a word

    def weight(self, words: Iterable[str]) -> float:
        """Return the sum of squared inverse frequencies; of a word that no prompt has too."""
        total = len(self.prompts) + 1
        return sum(math.log(1 + total / (1 + self.num_with[word])) ** 2 for word in words)

    def nearest(self, query: str, modality: str | None) -> list[tuple[float, list[str]]]:
        """Return (distance, prompts at it), nearest first, of those that share a word.

        The distance is 1 - the cosine of both sets' inverse frequencies: 0 of equal words.
        """
        asked = words_of(query)
        whole = self.weight(asked)
        found: dict[float, list[str]] = defaultdict(list)
        for prompt_id, of, words in self.prompts:
            shared = asked & words
            if shared and modality in (None, of):
                likeness = self.weight(shared) / math.sqrt(whole * self.weight(words))
                found[round(1 - likeness, 6)].append(prompt_id)
        return sorted(found.items())


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text or a label, without case."""
    return frozenset(re.findall(r"[^\W_]+", text.casefold()))


def words_of_prompts(prompts: Sequence[Prompt]) -> PromptWords:
    """Return prompts to search by: modality, text and label count alike."""
    told = [
        (row.id, row.modality, words_of(f"{row.modality} {row.text} {row.label or ''}"))
        for row in prompts
    ]
    return PromptWords(told, Counter(word for *_, words in told for word in words))
