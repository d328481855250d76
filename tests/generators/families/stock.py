"""Stable Diffusion XL and 3 in small, untrained, as diffusers itself saves them."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from tests.tiny import tiny_unet


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a CLIP tokenizer that spells."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789:,.-"]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    return CLIPTokenizer(*files, model_max_length=77)


def clip(model: Any, tokenizer: CLIPTokenizer, width: int) -> Any:
    """Return an untrained text encoder."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        projection_dim=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return model(config).eval()


def vae(**changes: Any) -> AutoencoderKL:
    """Return an untrained autoencoder that halves once."""
    return AutoencoderKL(
        **{
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "block_out_channels": (8, 16),
            "latent_channels": 4,
            "norm_num_groups": 2,
            "sample_size": 16,
            "mid_block_add_attention": False,
            **changes,
        }
    ).eval()


def sdxl_folder(folder: Path) -> Path:
    """Save a tiny StableDiffusionXLPipeline."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = clip_tokenizer(folder / "tokens")
        pipeline = StableDiffusionXLPipeline(
            vae=vae(scaling_factor=0.13),
            text_encoder=clip(CLIPTextModel, tokenizer, 16),
            text_encoder_2=clip(CLIPTextModelWithProjection, tokenizer, 24),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=tiny_unet(
                cross_attention_dim=16 + 24,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=24 + 6 * 8,
            ),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                timestep_spacing="leading",
            ),
        )
    pipeline.save_pretrained(folder / "sdxl")
    return folder / "sdxl"


def sd3_folder(folder: Path, *, with_t5: bool = False) -> Path:
    """Save a tiny StableDiffusion3Pipeline, with a T5 or without one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = clip_tokenizer(folder / "tokens")
        t5 = T5Config(
            vocab_size=len(tokenizer), d_model=48, d_ff=32, d_kv=8, num_layers=1, num_heads=2
        )
        pipeline = StableDiffusion3Pipeline(
            vae=vae(
                scaling_factor=1.5,
                shift_factor=0.06,
                use_quant_conv=False,
                use_post_quant_conv=False,
            ),
            text_encoder=clip(CLIPTextModelWithProjection, tokenizer, 16),
            text_encoder_2=clip(CLIPTextModelWithProjection, tokenizer, 24),
            text_encoder_3=T5EncoderModel(t5).eval() if with_t5 else None,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            tokenizer_3=tokenizer if with_t5 else None,
            transformer=SD3Transformer2DModel(
                sample_size=8,
                patch_size=2,
                in_channels=4,
                out_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                caption_projection_dim=16,
                joint_attention_dim=48,
                pooled_projection_dim=16 + 24,
                pos_embed_max_size=8,
            ).eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    pipeline.save_pretrained(folder / "sd3")
    return folder / "sd3"
