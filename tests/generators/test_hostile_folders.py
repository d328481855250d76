"""Code that lies in somebody's model folder is not run, whoever sits at the terminal."""

import builtins
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from generators import registry
from generators.captioner import load_captioner
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError
from rewards.backbones import load_backbone
from rewards.errors import RewardError

CODE = """
from pathlib import Path
from transformers import PretrainedConfig
Path({marker!r}).touch()
class Config(PretrainedConfig):
    model_type = "hostile"
"""


def _plant(folder: Path, marker: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "planted.py").write_text(CODE.format(marker=str(marker)))
    auto_map = {"AutoConfig": "planted.Config", "AutoModel": "planted.Model"}
    config = {"model_type": "hostile", "architectures": ["Model"], "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("opens", [load_backbone, load_captioner], ids=lambda f: str(f.__name__))
def test_a_folder_with_code_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: Callable[[str], object]
) -> None:
    monkeypatch.setattr(builtins, "input", lambda *_: "y")  # the person would have said yes
    _plant(tmp_path / "model", tmp_path / "ran")
    with pytest.raises((GeneratorError, RewardError)):
        opens(str(tmp_path / "model"))
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_whose_text_encoder_brings_code_is_refused(
    tiny_generator: DiffusionGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    tiny_generator.save(tmp_path / "base")
    _plant(tmp_path / "base" / "text_encoder", tmp_path / "ran")
    with pytest.raises(GeneratorError, match="text_encoder cannot be opened"):
        registry.load("text-to-image", tmp_path / "base")
    assert not (tmp_path / "ran").exists()
