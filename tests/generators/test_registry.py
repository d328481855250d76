from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from generators import registry
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError

OWN = ["clinical", "clinical-gan", "counterfactual", "sd3", "sdxl", "text-to-image", "translation"]


def test_a_family_opens_what_its_generator_saved(
    tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path)
    assert registry.load(tiny_generator.family, tmp_path).output.shape == (3, 16, 16)
    assert registry.families() == OWN


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    known = "clinical, clinical-gan, counterfactual, sd3"
    with pytest.raises(GeneratorError, match=f"'gan'. Known: {known}"):
        registry.load("gan", Path("anywhere"))


def test_a_package_brings_a_family_by_an_entry_point_and_replaces_none(tmp_path: Path) -> None:
    (tmp_path / "brought.dist-info").mkdir()
    (tmp_path / "brought.dist-info" / "METADATA").write_text("Name: brought\nVersion: 1\n")
    (tmp_path / "brought.dist-info" / "entry_points.txt").write_text(
        "[curate.generators]\nfrom-file = builtins:str\ntext-to-image = builtins:str\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert registry.families() == sorted([*OWN, "from-file"])
        assert registry.load("from-file", "opened") == "opened"  # type: ignore[comparison-overlap]
        own, *_ = registry.OWN_FAMILIES
        assert own == EntryPoint(
            "text-to-image", "generators.families.text_to_image:load", "curate.generators"
        )
        with pytest.raises(GeneratorError, match="not a local folder"):
            registry.load("text-to-image", "opened")
