"""A user's own network as a judge: what it reads is what its library reads; pickles stay shut."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from rewards.errors import RewardError
from rewards.own_judge import OwnJudge, load_own_judge

SIDE = 32


def brightness() -> OwnJudge:
    return OwnJudge(
        "brightness", "number", ("age",), lambda images: images.mean((1, 2, 3))[:, None]
    )


def no_judge() -> str:
    return "no judge"


def vision_transformer(folder: Path, **config: Any) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    small: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "patch_size": 8,
    }
    model = ViTForImageClassification(
        ViTConfig(**small, intermediate_size=32, image_size=SIDE, **config)
    )
    torch.nn.init.normal_(model.get_parameter("classifier.weight"))
    model.save_pretrained(folder)
    looks = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "size": {"height": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(looks))
    return model.eval()


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("multi_label_classification", "findings"),
        ("single_label_classification", "classes"),
        ("regression", "number"),
    ],
)
def test_a_transformers_folder_reads_what_transformers_does(
    tmp_path: Path, problem: str, kind: str
) -> None:
    names = {0: "age"} if kind == "number" else {0: "Edema", 1: "Pleural_Effusion", 2: "Hernia"}
    model = vision_transformer(tmp_path, problem_type=problem, id2label=names)
    judge = load_own_judge(str(tmp_path))
    assert (judge.kind, judge.labels) == (kind, tuple(names.values()))
    images = torch.rand(2, 3, SIDE, SIDE)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    with torch.no_grad():
        logits = model(pixel_values=(images - mean[:, None, None]) / std[:, None, None]).logits
    said = {
        "findings": 1 / (1 + (-logits).exp()),
        "classes": logits.exp() / logits.exp().sum(1, keepdim=True),
        "number": logits,
    }[kind]
    assert torch.allclose(judge.readings(images), said.double(), atol=1e-5)
    assert judge.readings(torch.rand(1, 3, 50, 70)).shape == (1, len(names))


def test_a_torchvision_folder_reads_what_torchvision_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=2).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    told = {"torchvision": "shufflenet_v2_x0_5", "kind": "classes", "labels": ["A", "B"]}
    (tmp_path / "config.json").write_text(json.dumps({**told, "side": 64}))
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = network((images - mean[:, None, None]) / std[:, None, None])
    read = load_own_judge(str(tmp_path)).readings(images)
    assert torch.allclose(read, logits.softmax(1).double(), atol=1e-5)
    (tmp_path / "config.json").write_text(json.dumps({**told, "labels": ["A", "B", "C"]}))
    with pytest.raises(RewardError, match="size mismatch"):
        load_own_judge(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**told, "kind": "guess"}))
    with pytest.raises(RewardError, match="none of findings, classes, number"):
        load_own_judge(str(tmp_path))


def test_pickled_weights_and_code_in_a_folder_are_not_opened(tmp_path: Path) -> None:
    vision_transformer(tmp_path, id2label={0: "A", 1: "B"})
    weights = load_file(tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    del weights["classifier.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RewardError, match="lacks weights of its network .classifier.weight"):
        load_own_judge(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(RewardError, match="as safetensors"):
        load_own_judge(str(tmp_path))
    remote = {"AutoModelForImageClassification": "modeling_mine.Mine", "AutoConfig": "mine.Mine"}
    ran = tmp_path / "ran"
    (tmp_path / "mine.py").write_text(f"open({str(ran)!r}, 'w')")
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "model_type": "mine", "auto_map": remote})
    )
    with pytest.raises(RewardError, match="cannot open the judge"):
        load_own_judge(str(tmp_path))
    assert not ran.exists()


def test_a_function_of_a_package_is_a_judge() -> None:
    judge = load_own_judge("tests.rewards.test_own_judge:brightness")
    assert judge.readings(torch.full((2, 3, 4, 4), 0.25)).tolist() == [[0.25], [0.25]]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nonesuch", "No judge 'nonesuch'. Name a folder"),
        ("nonesuch:judge", "cannot be loaded"),
        ("tests.rewards.test_own_judge:nonesuch", "cannot be loaded"),
        ("tests.rewards.test_own_judge:no_judge", "returned str, not"),
    ],
)
def test_what_is_no_judge_is_refused_with_what_is_needed(name: str, why: str) -> None:
    with pytest.raises(RewardError, match=why):
        load_own_judge(name)


def test_a_judge_that_returns_nan_or_another_shape_is_stopped() -> None:
    images = torch.zeros(2, 3, 4, 4)
    broken = OwnJudge("broken", "number", ("age",), lambda some: torch.full((2, 1), torch.nan))
    with pytest.raises(RewardError, match="NaN"):
        broken.readings(images)
    wide = OwnJudge("wide", "number", ("age",), lambda some: torch.zeros(2, 3))
    with pytest.raises(RewardError, match=r"returned \[2, 3\]; .* need \[2, 1\]"):
        wide.readings(images)
    with pytest.raises(RewardError, match="one name"):
        OwnJudge("twice", "classes", ("A", "A"), lambda some: some)
