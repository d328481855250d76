import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from rewards.backbones import Backbone, load_backbone, torchvision_backbone
from rewards.errors import RewardError
from rewards.frozen import load_encoder


@pytest.mark.parametrize("name", ["embedded", "features"])
def test_a_shipped_backbone_takes_any_size_and_passes_gradients_to_the_pixels(name: str) -> None:
    backbone = load_backbone(name)
    images = torch.rand(2, 3, 40, 56, requires_grad=True)
    features = backbone.features(images)
    assert features.shape == (2, backbone.dim)
    features.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in backbone.parameters())


def test_the_embedded_backbone_is_the_frozen_encoder_at_every_level() -> None:
    images = torch.rand(2, 3, 64, 64)
    features = load_backbone("embedded").features(images)
    assert torch.allclose(features[:, -192:], load_encoder()(images), atol=1e-4)
    assert features.shape[1] > 192


def test_equal_weights_have_equal_fingerprints_and_one_changed_bit_another() -> None:
    network = nn.Linear(3, 2)
    first = Backbone("first", network, 2).fingerprint
    assert Backbone("second", network, 2).fingerprint == first
    with torch.no_grad():
        network.bias[0] += 1e-3
    assert Backbone("third", network, 2).fingerprint != first


def test_a_backbone_stays_in_evaluation_mode() -> None:
    backbone = Backbone("norm", nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12)), 12)
    backbone.train()
    images = torch.rand(4, 3, 2, 2)
    assert torch.equal(backbone.features(images)[:1], backbone.features(images[:1]))


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_a_torchvision_classifier_gives_what_its_last_layer_sees(architecture: str) -> None:
    torch.manual_seed(0)
    classifier = torchvision.models.get_model(architecture, weights=None).eval()
    last = [module for module in classifier.modules() if isinstance(module, nn.Linear)][-1]
    images = torch.rand(1, 3, 224, 224)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = classifier((images - mean[:, None, None]) / std[:, None, None])
        backbone = torchvision_backbone(f"torchvision/{architecture}", classifier)
        features = backbone.features(images)
        assert features.shape == (1, backbone.dim)
        assert torch.allclose(last(features), logits, atol=1e-5)


def test_a_transformers_folder_is_a_backbone(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    backbone = load_backbone(str(tmp_path / "vit"))
    features = backbone.features(torch.rand(2, 3, 48, 64))
    assert features.shape == (2, backbone.dim) == (2, 16)
    assert load_backbone(str(tmp_path / "vit")).fingerprint == backbone.fingerprint


def test_of_a_model_of_images_and_texts_the_image_tower_is_taken(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "intermediate_size": 32, "vocab_size": 50},
        vision_config={**small, "intermediate_size": 32, "image_size": 32, "patch_size": 8},
    )
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    backbone = load_backbone(str(tmp_path / "clip"))
    assert backbone.features(torch.rand(2, 3, 48, 64)).shape == (2, 16)


def test_a_hub_name_without_a_network_is_refused_with_what_to_do() -> None:
    with pytest.raises(RewardError, match="name the folder"):
        load_backbone("nobody/nothing")


def test_a_transformers_folder_without_part_of_its_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32)
    ViTModel(config).save_pretrained(tmp_path / "vit")
    path = tmp_path / "vit" / "model.safetensors"
    tensors = load_file(path)
    del tensors["layernorm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(RewardError, match="lacks weights"):
        load_backbone(str(tmp_path / "vit"))


@pytest.mark.parametrize("name", ["nonesuch", "torchvision/nonesuch"])
def test_a_backbone_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(RewardError, match="Known: "):
        load_backbone(name)


def save_as_open_clip(folder: Path) -> nn.Module:
    """Write a tiny model in the layout of BiomedCLIP; return its image tower."""
    tower = timm.create_model("test_vit", num_classes=0)
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "image_size": 160}
    looks = {"mean": [0.4, 0.4, 0.4], "std": [0.3, 0.3, 0.3]}
    saved = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision}, "preprocess_cfg": looks}
    (folder / "open_clip_config.json").write_text(json.dumps(saved))
    weights = {f"visual.trunk.{key}": value for key, value in tower.state_dict().items()}
    others = {"text.proj.weight": torch.zeros(2, 2), "logit_scale": torch.zeros(())}
    torch.save({**weights, **others}, folder / "open_clip_pytorch_model.bin")
    return tower.eval()


def test_a_model_that_open_clip_saved_gives_its_image_towers_features(tmp_path: Path) -> None:
    tower = save_as_open_clip(tmp_path)
    backbone = load_backbone(str(tmp_path))
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = tower((images - 0.4) / 0.3)
    assert torch.allclose(backbone.features(images), expected, atol=1e-5)
    assert backbone.dim == expected.shape[1]


def test_an_open_clip_folder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    save_as_open_clip(tmp_path)
    (tmp_path / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(RewardError, match="neither open_clip_model.safetensors nor"):
        load_backbone(str(tmp_path))
    torch.save({}, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(RewardError, match="are not those of test_vit"):
        load_backbone(str(tmp_path))
