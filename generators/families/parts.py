"""The parts of a diffusers folder, fetched and opened, or said what is wrong with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from diffusers import AutoencoderKL, AutoencoderTiny
from huggingface_hub import snapshot_download
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from generators.errors import GeneratorError

FOLDERS = (
    *("unet", "transformer", "vae", "scheduler"),
    *("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2"),
    "tokenizer_3",
)
KINDS = ("*.json", "*.txt", "*.model", "*.safetensors")  # no pickles, no half-precision twins
# what is fetched of a hub repository
CHECKPOINT_FILES = ["model_index.json", *(f"{part}/{kind}" for part in FOLDERS for kind in KINDS)]


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' bars and reports out of the commands' output; we check what was read."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def fetched(folder_or_name: str | Path) -> Path:
    """Return the folder itself, or that of a hub repository's files after fetching them."""
    if Path(folder_or_name).is_dir():
        return Path(folder_or_name)
    try:
        return Path(
            snapshot_download(
                str(folder_or_name), allow_patterns=CHECKPOINT_FILES, ignore_patterns=["*.fp16.*"]
            )
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise GeneratorError(
            f"{str(folder_or_name)!r} is not a local folder and could not be fetched from the hub "
            f"({type(error).__name__}). Give the folder of a diffusers checkpoint, or a hub name "
            "where there is a network."
        ) from error


def opened(open_part: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """Return what is in `folder`, or say what is wrong with it."""
    needed = "Needed is this part of a diffusers folder, in safetensors."
    if not folder.is_dir():
        raise GeneratorError(f"There is no folder {folder}. {needed}")
    try:
        return open_part(folder, **options)
    except GeneratorError:
        raise
    except Exception as error:  # somebody else's parser: none says all that it may raise
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise GeneratorError(f"{folder} cannot be opened: {said} {needed}") from error


def tokenizer_in(folder: Path) -> Any:
    """Return the tokenizer in `folder`; code that lies beside it is never run."""
    return opened(AutoTokenizer.from_pretrained, folder, trust_remote_code=False)


def with_weights(model_class: Any, folder: Path) -> Any:
    """Return the model in `folder`; a weight that is not there would be random, so it is refused.

    Except a BERT's pooler, which nothing here reads.
    """
    model, found = opened(
        model_class.from_pretrained,
        folder,
        use_safetensors=True,
        output_loading_info=True,
        # else transformers asks a person whether to run the code that lies in the folder
        **({"trust_remote_code": False} if model_class is AutoModel else {}),
    )
    missing = set(found["missing_keys"])
    if missing and all(key.startswith("pooler.") for key in missing):
        model.pooler = None
    elif missing:
        raise GeneratorError(
            f"{folder} lacks {len(missing)} of its weights, {min(missing)} among them. "
            "Fetch or save the checkpoint again."
        )
    return model.float()


def autoencoder_in(folder: Path) -> Any:
    """Return the autoencoder in `folder`: an `AutoencoderTiny` where its configuration says so."""
    config = opened(AutoencoderKL.load_config, folder)
    tiny = config.get("_class_name") == AutoencoderTiny.__name__
    return with_weights(AutoencoderTiny if tiny else AutoencoderKL, folder)


def latent_shape(network: Any, vae: Any) -> tuple[int, int, int]:
    """Return channels, height and width of the latents that a network makes for an autoencoder."""
    if network.config.out_channels != vae.config.latent_channels:
        raise GeneratorError(
            f"The network makes {network.config.out_channels} channels, but the autoencoder reads "
            f"{vae.config.latent_channels}. Take both from one checkpoint."
        )
    return network.config.out_channels, *size_of(network)


def size_of(network: Any) -> tuple[int, int]:
    """Return height and width of a network's latents; GeneratorError where it does not say them."""
    size = network.config.sample_size
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or [type(side) for side in sides] != [int, int]:
        raise GeneratorError(
            f"The network's configuration has sample_size {size!r}: its latents' height and width "
            "are needed. Write them into its config.json."
        )
    if min(sides) < 1:
        raise GeneratorError(f"The network's configuration has sample_size {size!r}.")
    return sides[0], sides[1]
