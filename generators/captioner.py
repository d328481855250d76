"""Images to texts: an image-to-text model of transformers, or what another package brings.

BLIP, GIT, Pix2Struct and encoder-decoder models (a ViT or CLIP with GPT-2, as MINIM's reports have
it) write without being asked a question. One image at a time: a caption depends on no neighbour.
"""

import hashlib
from importlib.metadata import entry_points
from typing import Protocol

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from generators.errors import GeneratorError

GROUP = "curate.captioners"  # a package's entry points here: name = "module:load", load() -> one
MOST_TOKENS = 64


class Captioner(Protocol):
    """Says in words what an image shows. `id` changes with its weights: captions are kept by it."""

    name: str
    id: str

    def __call__(self, image_3HW: Tensor) -> str:
        """Return the text of an image in 0 .. 1, without its modality; the same each time."""
        ...


def load_captioner(name: str) -> Captioner:
    """Return a captioner that a package brings, or that of a transformers folder or hub name."""
    brought = {point.name: point for point in entry_points(group=GROUP)}
    if name in brought:
        captioner: Captioner = brought[name].load()()
        return captioner
    return TransformersCaptioner(name)


class TransformersCaptioner:
    """A model that turns pixels into tokens, greedily."""

    def __init__(self, folder_or_name: str) -> None:
        """Open model, image processor and tokenizer; GeneratorError when one is missing."""
        self.name = folder_or_name
        try:
            self._processor = AutoImageProcessor.from_pretrained(
                folder_or_name, trust_remote_code=False
            )
            self._tokenizer = AutoTokenizer.from_pretrained(folder_or_name, trust_remote_code=False)
            self._model = AutoModelForImageTextToText.from_pretrained(
                folder_or_name, use_safetensors=True, trust_remote_code=False
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            raise GeneratorError(
                f"{folder_or_name!r} is not an image-to-text model of transformers "
                f"({str(error).splitlines()[0]}). Give its folder (config.json, model.safetensors, "
                "preprocessor_config.json and the tokenizer's files), or a hub name where there is "
                "a network."
            ) from error
        digest = hashlib.sha256()
        for name, weight in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)} ".encode())
            digest.update(weight.contiguous().view(torch.uint8).numpy().tobytes())
        self.id = digest.hexdigest()

    @torch.no_grad()
    def __call__(self, image_3HW: Tensor) -> str:
        """Return what the model writes about one image."""
        levels_HW3 = (image_3HW * 255).round().byte().permute(1, 2, 0).numpy()
        inputs = self._processor(images=levels_HW3, return_tensors="pt")
        tokens = self._model.generate(
            pixel_values=inputs["pixel_values"], max_new_tokens=MOST_TOKENS, do_sample=False
        )
        return str(self._tokenizer.decode(tokens[0], skip_special_tokens=True)).strip()
