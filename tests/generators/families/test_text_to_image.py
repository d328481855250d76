import hashlib
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, PNDMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError
from generators.families.text_to_image import load, text_to_image
from tests.tiny import SCHEDULE, tiny_unet

DRUSEN = Prompt("OCT", "drusen")


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def saved(tiny_generator: DiffusionGenerator, tmp_path: Path) -> Path:
    tiny_generator.save(tmp_path / "saved")
    return tmp_path / "saved"


# Prompts to tokens


def tokens(generator: DiffusionGenerator, *prompts: Prompt) -> torch.Tensor:
    found = generator.conditioner(prompts).parts["tokens"]
    assert found is not None
    return found


def test_modality_and_text_are_encoded_apart_and_joined_along_the_tokens(
    tiny_generator: DiffusionGenerator,
) -> None:
    oct_drusen, cxr_drusen, oct_normal = tokens(
        tiny_generator, DRUSEN, Prompt("CXR", "drusen"), Prompt("OCT", "normal")
    )
    assert oct_drusen.shape == (32, 16)  # 8 tokens of modality, 24 of text
    assert torch.equal(oct_drusen[:8], oct_normal[:8])
    assert torch.equal(oct_drusen[8:], cxr_drusen[8:])
    assert not torch.allclose(oct_drusen[:8], cxr_drusen[:8])
    assert not torch.allclose(oct_drusen[8:], oct_normal[8:])


def test_padding_does_not_reach_the_words_of_a_bert(tiny_generator: DiffusionGenerator) -> None:
    [both] = tokens(tiny_generator, Prompt("drusen", "drusen"))  # padded to 8 and to 24
    torch.testing.assert_close(both[:3], both[8:11], rtol=1e-4, atol=1e-4)


def test_guidance_steers_away_from_an_empty_modality_with_an_empty_text(
    tiny_generator: DiffusionGenerator,
) -> None:
    unconditional = tiny_generator.conditioner.unconditional(2).parts["tokens"]
    assert unconditional is not None
    assert torch.equal(unconditional, tokens(tiny_generator, Prompt("", ""), Prompt("", "")))


def test_equal_texts_are_encoded_once(tiny_generator: DiffusionGenerator) -> None:
    passes: list[None] = []
    encoder = tiny_generator.conditioner.text_encoder  # type: ignore[attr-defined]
    encoder.register_forward_hook(lambda *_: passes.append(None))
    tokens(tiny_generator, *[DRUSEN, Prompt("OCT", "normal")] * 50)
    assert len(passes) == 3  # OCT, drusen, normal
    tokens(tiny_generator, DRUSEN)
    assert len(passes) == 3


def test_a_text_that_would_be_cut_off_is_refused_by_name(
    tiny_generator: DiffusionGenerator,
) -> None:
    long = Prompt("OCT", "drusen " * 23)
    with pytest.raises(GeneratorError, match=r"text 'drusen .*25 tokens long.*reads 24"):
        tiny_generator.conditioner([DRUSEN, long])
    with pytest.raises(GeneratorError, match=r"modality 'tomography' is 12 tokens"):
        tiny_generator.conditioner([Prompt("tomography", "drusen")])
    tiny_generator.conditioner([Prompt("OCT", "drusen " * 22)])  # exactly full


# Saving and loading


def test_a_generator_comes_back_with_the_same_images(
    tiny_generator: DiffusionGenerator, saved: Path
) -> None:
    settings = SamplingSettings(num_steps=3, batch_size=2, guidance=2.0)

    def images(generator: DiffusionGenerator) -> torch.Tensor:
        conditions = generator.conditioner([DRUSEN])
        return decode(generator, sample(generator, conditions, [0], settings), 2)

    assert torch.equal(images(load(saved)), images(tiny_generator))


def test_equal_weights_are_equal_bytes_after_loading_use_and_saving(
    saved: Path, tmp_path: Path
) -> None:
    generator = load(str(saved))
    tokens(generator, DRUSEN)
    tokenizer = generator.conditioner.tokenizer  # type: ignore[attr-defined]
    tokenizer("drusen", padding="max_length", max_length=7, truncation=True)  # it would remember
    generator.save(tmp_path / "again")
    assert tree(tmp_path / "again") == tree(saved)


def test_the_folder_holds_no_pickle_no_path_of_this_machine_and_is_readable(saved: Path) -> None:
    load(saved).save(saved)
    for path in saved.rglob("*"):
        if path.is_file():
            assert path.suffix in {".json", ".safetensors", ".txt"}
            assert str(saved.parent).encode() not in path.read_bytes()
            assert path.stat().st_mode == (saved / "model_index.json").stat().st_mode


def test_half_precision_weights_are_opened_in_float32(
    tiny_generator: DiffusionGenerator, saved: Path
) -> None:
    tiny_generator.denoiser.half()
    tiny_generator.codec.vae.half()  # type: ignore[attr-defined]
    tiny_generator.conditioner.text_encoder.half()  # type: ignore[attr-defined]
    tiny_generator.save(saved)
    assert {w.dtype for w in load_file(next(saved.rglob("unet/*.safetensors"))).values()} == {
        torch.float16
    }
    generator = load(saved)
    encoder = generator.conditioner.text_encoder  # type: ignore[attr-defined]
    vae = generator.codec.vae  # type: ignore[attr-defined]
    weights = [w for part in (generator.denoiser, vae, encoder) for w in part.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert not any(weight.requires_grad for weight in weights)
    assert tokens(generator, DRUSEN).dtype == torch.float32


def test_a_bert_without_a_pooler_stays_without_and_nobody_is_told(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("transformers").addHandler(caplog.handler)
    path = saved / "text_encoder" / "model.safetensors"
    kept = {name: w for name, w in load_file(path).items() if not name.startswith("pooler.")}
    save_file(kept, path, metadata={"format": "pt"})
    for name in ("once", "twice"):
        load(saved).save(tmp_path / name)
    assert tree(tmp_path / "once") == tree(tmp_path / "twice") == tree(saved)
    logging.getLogger("transformers").removeHandler(caplog.handler)
    assert caplog.messages == []


@pytest.mark.parametrize("inside", ["", "unet"])
def test_a_separate_u_net_replaces_the_checkpoints(
    saved: Path, tmp_path: Path, inside: str
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other = tiny_unet()
    other.save_pretrained(tmp_path / "other" / inside)
    unet = load(saved, unet=tmp_path / "other").denoiser.network
    assert torch.equal(unet.conv_in.weight, other.conv_in.weight)


def test_what_is_wrong_with_a_folder_is_said(saved: Path, tmp_path: Path) -> None:
    weights = saved / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    lost = state.pop("conv_in.bias")
    save_file(state, weights)
    with pytest.raises(GeneratorError, match=r"lacks 1 of its weights, conv_in\.bias"):
        load(saved)
    save_file({**state, "conv_in.bias": lost[:3].clone()}, weights)
    with pytest.raises(GeneratorError, match="cannot be opened: .*conv_in.bias"):
        load(saved)
    weights.write_bytes(b"torn")
    with pytest.raises(GeneratorError, match="cannot be opened"):
        load(saved)
    torch.save(state, weights.with_suffix(".bin"))  # a pickle is no substitute
    weights.unlink()
    with pytest.raises(GeneratorError, match=r"unet cannot be opened.*safetensors"):
        load(saved)
    shutil.rmtree(saved / "tokenizer")
    with pytest.raises(GeneratorError, match="There is no folder .*tokenizer"):
        load(saved)


def test_a_hub_name_without_a_network_says_what_would_help() -> None:
    with pytest.raises(GeneratorError, match="stable-diffusion-v1-4' is not a local folder"):
        load("CompVis/stable-diffusion-v1-4")
    with pytest.raises(GeneratorError, match="'no such folder' is not a local folder"):
        load("no such folder")


# Stock Stable Diffusion


def stock_images(
    pipeline: StableDiffusionPipeline, generator: DiffusionGenerator, seed: int, steps: int
) -> torch.Tensor:
    images: torch.Tensor = pipeline(
        prompt_embeds=tokens(generator, DRUSEN),
        negative_prompt_embeds=tokens(generator, Prompt("", "")),
        latents=initial_noise([seed], generator.latent_shape),
        num_inference_steps=steps,
        guidance_scale=3.0,
        output_type="pt",
    ).images
    return images


def our_images(generator: DiffusionGenerator, seed: int, steps: int) -> torch.Tensor:
    settings = SamplingSettings(num_steps=steps, guidance=3.0, batch_size=1)
    latents = sample(generator, generator.conditioner([DRUSEN]), [seed], settings)
    return decode(generator, latents, 1)


def opened_by_diffusers(folder: Path, **parts: object) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_stock_pipeline_makes_the_same_image_from_the_same_embeddings(saved: Path) -> None:
    generator = load(saved)
    stock = stock_images(opened_by_diffusers(saved), generator, seed=4, steps=5)
    torch.testing.assert_close(our_images(generator, 4, 5), stock, rtol=0, atol=1e-4)


def test_the_stock_pipeline_encodes_a_text_as_we_do(saved: Path) -> None:
    pipeline = opened_by_diffusers(saved)
    pipeline.tokenizer.model_max_length = 24  # our share of the text
    embeddings, _ = pipeline.encode_prompt("drusen", "cpu", 1, False)
    torch.testing.assert_close(
        embeddings[0], tokens(load(saved), DRUSEN)[0, 8:], rtol=1e-4, atol=1e-4
    )


WITHOUT_CURATE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("annotation", "cli", "curate", "db", "generators", "rewards"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
try:
    import generators
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("curate is importable here")

import torch
from diffusers import StableDiffusionPipeline

torch.manual_seed(0)
pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1])
image = pipeline("OCT: drusen", num_inference_steps=3).images[0]
low, high = image.convert("L").getextrema()
print(image.mode, *image.size, high > low)
"""


@pytest.mark.slow
def test_where_curate_is_not_installed_diffusers_makes_an_image_of_a_saved_generator(
    saved: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_CURATE, str(saved)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["RGB", "16", "16", "True"]


@pytest.fixture
def stable_diffusion(tiny_generator: DiffusionGenerator, tmp_path: Path) -> Path:
    """Stable Diffusion 1.x in small, as diffusers itself saves it: CLIP, PNDM, epsilon."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789:,.-"]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=77
    )
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    pipeline = StableDiffusionPipeline(
        vae=tiny_generator.codec.vae,  # type: ignore[attr-defined]
        text_encoder=CLIPTextModel(config).eval(),
        tokenizer=tokenizer,
        unet=tiny_unet(),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(tmp_path / "stable-diffusion")
    return tmp_path / "stable-diffusion"


def test_a_stable_diffusion_checkpoint_opens_through_the_same_family(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    generator = load(stable_diffusion)
    assert generator.process.prediction_type == "epsilon"
    assert tokens(generator, DRUSEN).shape == (1, 77, 16)  # 19 of modality, 58 of text
    generator.save(tmp_path / "saved")  # with DDIM in the place of PNDM
    for folder in (stable_diffusion, tmp_path / "saved"):
        scheduler = {"scheduler": opened_by_diffusers(tmp_path / "saved").scheduler}
        stock = stock_images(opened_by_diffusers(folder, **scheduler), generator, 2, 5)
        torch.testing.assert_close(our_images(generator, 2, 5), stock, rtol=0, atol=1e-4)


def test_clip_encodes_without_a_mask_as_stable_diffusion_was_trained(
    stable_diffusion: Path,
) -> None:
    pipeline = opened_by_diffusers(stable_diffusion)
    pipeline.tokenizer.model_max_length = 58
    embeddings, _ = pipeline.encode_prompt("drusen", "cpu", 1, False)
    torch.testing.assert_close(
        embeddings[0], tokens(load(stable_diffusion), DRUSEN)[0, 19:], rtol=1e-4, atol=1e-4
    )


# Other stock parts


def test_a_tiny_autoencoder_and_text_in_every_block_give_what_the_stock_pipeline_gives(
    tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )
        unet = tiny_unet(addition_embed_type="text", addition_embed_type_num_heads=2)
    text_to_image(
        tokenizer=tiny_generator.conditioner.tokenizer,  # type: ignore[attr-defined]
        text_encoder=tiny_generator.conditioner.text_encoder,  # type: ignore[attr-defined]
        unet=unet,
        vae=vae,
        scheduler_config=SCHEDULE,
    ).save(tmp_path)
    known = set(AutoencoderTiny._get_init_keys(AutoencoderTiny))
    written = AutoencoderTiny.load_config(tmp_path / "vae")
    assert {name for name in written if name[0] != "_"} <= known  # diffusers warns of others
    generator = load(tmp_path)
    stock = stock_images(opened_by_diffusers(tmp_path), generator, seed=4, steps=5)
    torch.testing.assert_close(our_images(generator, 4, 5), stock, rtol=0, atol=1e-4)

    images = torch.rand(2, 3, 16, 16)
    latents = generator.codec.encode(images)
    torch.testing.assert_close(latents, vae.encode(images * 2 - 1).latents)
    torch.testing.assert_close(
        generator.codec.decode(latents), (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    )
