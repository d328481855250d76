from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from generators import captioner as captioners
from generators.captioner import load_captioner
from generators.errors import GeneratorError
from tests.tiny import tiny_generator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A real captioner that is tiny and untrained: what it writes is nonsense, always the same."""
    torch.manual_seed(0)
    tokenizer = tiny_generator().conditioner.tokenizer  # type: ignore[attr-defined]
    seen = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
    )
    said = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        is_decoder=True,
        add_cross_attention=True,
    )
    model = VisionEncoderDecoderModel(encoder=ViTModel(seen), decoder=BertLMHeadModel(said))
    ids = {
        "decoder_start_token_id": tokenizer.cls_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    for name, value in ids.items():
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    return tmp_path


def test_a_transformers_folder_says_what_an_image_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioners, "MOST_TOKENS", 5)
    one, again = load_captioner(str(folder)), load_captioner(str(folder))
    image = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0))
    assert one(image) == again(image) != ""
    assert one.id == again.id


def test_other_weights_are_another_captioner(folder: Path) -> None:
    before = load_captioner(str(folder)).id
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(folder)
    assert load_captioner(str(folder)).id != before


def test_what_is_no_captioner_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(
        GeneratorError, match="not an image-to-text model.*preprocessor_config.json"
    ):
        load_captioner(str(tmp_path))
