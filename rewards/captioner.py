"""A GPT-2 that says what an image shows: a few tokens made of its features stand before the words.

The prefix is ClipCap's (Mokady 2021, arXiv 2111.09734): a linear map of frozen features. Shapes:
B images, D features, L words of a text, V words known, E the network's width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from rewards.classifiers import learning_device
from rewards.errors import RewardError

SIZES = {"tiny": (3, 128, 4), "gpt2": (12, 768, 12)}  # layers, width, heads
IMAGE_TOKENS = 4
MOST_TOKENS = 96  # of a text; what is longer is cut
UNKNOWN, END = "<unknown>", "<end>"
IGNORED = -100  # by cross entropy
BATCH = 32


class Vocabulary(Protocol):
    """Turns a text into numbers and back."""

    end: int

    def encode(self, text: Sequence[str]) -> list[int]:
        """Return the numbers of a text's words."""
        ...

    def decode(self, numbers: Sequence[int]) -> str:
        """Return a text."""
        ...


class WordVocabulary:
    """Every word of the texts that are learned from."""

    end = 0

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        """Take the words in; their order does not depend on the texts'."""
        self.words = [END, UNKNOWN, *sorted({word for words in texts for word in words})]
        self._numbers = {word: number for number, word in enumerate(self.words)}

    def encode(self, text: Sequence[str]) -> list[int]:
        """Return a number a word, 1 for a word that was never seen."""
        return [self._numbers.get(word, 1) for word in text]

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the words with spaces between them."""
        return " ".join(self.words[number] for number in numbers)


class FolderVocabulary:
    """The tokens of a saved network."""

    def __init__(self, folder: Path) -> None:
        """Open the folder's tokenizer; nothing is fetched and no code in it runs."""
        self._tokens = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        self.end = int(self._tokens.eos_token_id)

    def encode(self, text: Sequence[str]) -> list[int]:
        """Return the numbers of a text's tokens."""
        numbers: list[int] = self._tokens(" ".join(text))["input_ids"]
        return numbers

    def decode(self, numbers: Sequence[int]) -> str:
        """Return a text."""
        return str(self._tokens.decode(list(numbers)))


class CaptioningNetwork(nn.Module):
    """Features [B, D] to texts."""

    def __init__(self, network: GPT2LMHeadModel, words: Vocabulary, num_features: int) -> None:
        """Join a language model to features."""
        super().__init__()
        self.network, self.words = network, words
        self.prefix = nn.Linear(num_features, IMAGE_TOKENS * network.config.n_embd)

    def _embedded(self, features_BD: Tensor, numbers_BL: Tensor) -> Tensor:
        prefix = self.prefix(features_BD).unflatten(1, (IMAGE_TOKENS, -1))
        return torch.cat([prefix, self.network.transformer.wte(numbers_BL)], dim=1)

    def loss(self, features_BD: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the mean cross entropy of each next word, the end among them."""
        rows = [torch.tensor([*text[:MOST_TOKENS], self.words.end]) for text in texts]
        asked_BL = pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        asked_BL = asked_BL.to(features_BD.device)
        given_BL = asked_BL[:, :-1].clamp_min(0)
        logits = self.network(inputs_embeds=self._embedded(features_BD, given_BL)).logits
        said_BLV = logits[:, IMAGE_TOKENS - 1 :]
        return functional.cross_entropy(said_BLV.flatten(0, 1), asked_BL.flatten())

    @torch.no_grad()
    def say(self, features_BD: Tensor) -> list[str]:
        """Return the likeliest text word by word (greedy)."""
        self.eval()
        num, device = len(features_BD), self.prefix.weight.device
        features_BD = features_BD.to(device)
        numbers_BL = torch.empty(num, 0, dtype=torch.long, device=device)
        next_input, past = self._embedded(features_BD, numbers_BL), None
        ended_B = torch.zeros(num, dtype=torch.bool, device=device)
        for _ in range(MOST_TOKENS):
            said = self.network(inputs_embeds=next_input, past_key_values=past, use_cache=True)
            past, likeliest_B = said.past_key_values, said.logits[:, -1].argmax(1)
            ended_B |= likeliest_B == self.words.end
            if ended_B.all():
                break
            numbers_BL = torch.cat(
                [numbers_BL, likeliest_B.masked_fill(ended_B, -1)[:, None]], dim=1
            )
            next_input = self.network.transformer.wte(likeliest_B)[:, None]
        return [self.words.decode([n for n in row if n >= 0]) for row in numbers_BL.tolist()]


def new_captioner(
    name: str, texts: Sequence[Sequence[str]], num_features: int, *, seed: int
) -> CaptioningNetwork:
    """Return a captioner: "tiny" (0.6 M weights), "gpt2" (untrained), or a folder's GPT-2.

    A folder is one that transformers saved, with its tokenizer. Raises RewardError otherwise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in SIZES:
            layers, width, heads = SIZES[name]
            words = WordVocabulary(texts)
            config = GPT2Config(
                vocab_size=len(words.words),
                n_positions=IMAGE_TOKENS + MOST_TOKENS,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                bos_token_id=words.end,
                eos_token_id=words.end,
            )
            return CaptioningNetwork(GPT2LMHeadModel(config), words, num_features)
        folder = Path(name)
        try:
            network = GPT2LMHeadModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
            return CaptioningNetwork(network, FolderVocabulary(folder), num_features)
        except (OSError, ValueError) as error:
            raise RewardError(
                f"No captioner {name!r}: give {', '.join(SIZES)}, or a folder with a GPT-2 and its "
                f"tokenizer that transformers saved as safetensors ({str(error).splitlines()[0]})."
            ) from error


def train_captioner(
    captioner: CaptioningNetwork,
    features_ND: Tensor,
    texts: Sequence[Sequence[str]],
    *,
    steps: int,
    seed: int,
) -> None:
    """Learn for a number of steps, images drawn by lot: more images cost no more."""
    random = torch.Generator().manual_seed(seed)
    numbers = [captioner.words.encode(text) for text in texts]
    rate = 1e-3 if captioner.network.config.n_embd < 512 else 1e-4
    optimiser = torch.optim.AdamW(captioner.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    device = learning_device()
    captioner.to(device).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # its dropout
        for _ in range(steps):
            drawn = torch.randint(len(texts), (BATCH,), generator=random)
            given = features_ND[drawn].to(device)
            loss = captioner.loss(given, [numbers[at] for at in drawn.tolist()])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(captioner.parameters(), 1.0)
            optimiser.step()
            schedule.step()
