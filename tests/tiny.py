"""A real text-to-image generator that is tiny and untrained: for tests, and for trying things out.

8 x 8 latents of 4 channels, 16 x 16 pixel images, milliseconds on one core. It is saved and loaded
like any other generator.
"""

import string
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import BertConfig, BertModel, BertTokenizer

from generators.diffusion.generator import DiffusionGenerator
from generators.families.text_to_image import text_to_image

NUM_TOKENS = 32
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
WORDS = ("oct", "fundus", "cxr", "chestct", "brainmri", "breastmri", "normal", "healthy", "drusen")


def tiny_generator(seed: int = 0) -> DiffusionGenerator:
    """Return an untrained generator; equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = _tokenizer()
        return text_to_image(
            tokenizer=tokenizer,
            text_encoder=_text_encoder(len(tokenizer)),
            unet=tiny_unet(),
            vae=_vae(),
            scheduler_config=SCHEDULE,
        )


def tiny_unet(**changes: object) -> UNet2DConditionModel:
    """Return an untrained U-Net; `changes` to its configuration give other shapes of condition."""
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "cross_attention_dim": 16,
            "attention_head_dim": 8,
            "norm_num_groups": 2,
            **changes,
        }
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=16,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def _text_encoder(vocab_size: int) -> BertModel:
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=NUM_TOKENS,
    )
    config.update({"use_attention_mask": True})  # so the stock pipeline gives the mask, as we do
    return BertModel(config)


def _tokenizer() -> BertTokenizer:
    """Return a WordPiece tokenizer that spells what it does not know."""
    letters = string.ascii_lowercase + string.digits
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *WORDS]
    vocabulary += [*letters, *(f"##{letter}" for letter in letters)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        return BertTokenizer(str(path), model_max_length=NUM_TOKENS)
