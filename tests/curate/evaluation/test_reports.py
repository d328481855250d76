"""A captioner of images whose features say which of three findings they show."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

from cli import app
from curate.errors import CurateError
from curate.evaluation.config import CaptionConfig
from curate.evaluation.reports import Reports, Written, measure_reports
from curate.evaluation.sets import ImageSet
from curate.evaluation.utility_sides import UtilitySides
from rewards.captioner import CaptioningNetwork, WordVocabulary, new_captioner, train_captioner
from rewards.errors import RewardError
from tests.curate.evaluation.pictured import write_set
from tests.curate.evaluation.test_utility import NETWORK, _silent, set_of

TEXTS = {"a": "oct scan with drusen", "b": "oct scan with fluid under it", "c": "a normal oct"}
CONFIG = CaptionConfig(steps=50, draws=1, ratios="1")


def worded(images: ImageSet) -> ImageSet:
    return replace(
        images, images=tuple(replace(i, text=TEXTS[i.label or ""]) for i in images.images)
    )


def measured(folder: Path, *sets: ImageSet) -> Reports:
    train, test = (
        worded(set_of(folder, "train", 20, seed=1)),
        worded(set_of(folder, "test", 20, seed=2)),
    )
    return measure_reports(UtilitySides(train, test, sets, ()), NETWORK, CONFIG, _silent)


def row(found: Reports, name: str) -> Written:
    [one] = [arm for arm in found.arms if arm.arm == name]
    return one


@pytest.mark.slow
def test_a_captioner_says_what_features_show_and_wrong_texts_harm_it(tmp_path: Path) -> None:
    wrong = worded(set_of(tmp_path, "wrong", 20, seed=4, wrong=1.0))
    found = measured(tmp_path, wrong)
    alone = row(found, "real only")
    assert row(found, "reference").rouge.value == row(found, "reference").label_share == 1
    for name in ("commonest caption", "random caption"):
        assert alone.cider.low > row(found, name).cider.high
    assert (alone.label_share or 0) > 0.6 > 0.5 > (row(found, "random caption").label_share or 0)
    harmed, misled = row(found, "wrong: synthetic only"), row(found, "real + 1x wrong").gain
    assert harmed.cider.high < alone.cider.low and harmed.gain is None
    assert harmed.num_synthetic == 60
    assert misled is not None and misled.high < 0
    copied = row(found, "real + 1x copies of the real ones").gain
    assert copied is not None and copied.low <= 0 <= copied.high
    assert "real + 1x wrong" in "\n".join(found.lines()) and json.dumps(found.to_json())
    kept = sorted((tmp_path / "results").rglob("*.json"))
    assert len(kept) == 4
    kept[0].unlink()
    assert measured(tmp_path, wrong) == found  # what is missing is made again, the rest was kept
    assert sorted((tmp_path / "results").rglob("*.json")) == kept


def test_images_without_a_text_are_named(tmp_path: Path) -> None:
    train, test = (set_of(tmp_path, name, 6, seed=n) for n, name in enumerate(("train", "test")))
    with pytest.raises(CurateError, match="train: no image has a text"):
        measure_reports(UtilitySides(train, test, (), ()), NETWORK, CONFIG, _silent)


def test_the_loss_is_the_mean_over_words_and_what_it_says_ends(tmp_path: Path) -> None:
    """Padding counts for nothing, and what greedy decoding keeps of the past changes no word."""
    words = [["a", "b", "c", "d"], ["b"]]
    captioner = new_captioner("tiny", words, 3, seed=0).eval()
    features_BD = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    numbers = [captioner.words.encode(text) for text in words]
    with torch.no_grad():
        together = captioner.loss(features_BD, numbers)
        alone = [captioner.loss(features_BD[at : at + 1], numbers[at : at + 1]) for at in (0, 1)]
    assert together.item() == pytest.approx(
        (5 * alone[0].item() + 2 * alone[1].item()) / 7, rel=1e-5
    )
    train_captioner(captioner, features_BD, words, steps=40, seed=0)
    assert captioner.say(features_BD) == ["a b c d", "b"]
    assert captioner.words.encode(["never"]) == [1]


def test_a_folder_s_gpt2_is_opened_and_nothing_else(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = Tokenizer(models.WordLevel({"<end>": 0, "<un>": 1, "a": 2, "b": 3}, unk_token="<un>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<end>", unk_token="<un>")
    fast.save_pretrained(tmp_path)
    GPT2LMHeadModel(GPT2Config(vocab_size=4, n_embd=8, n_layer=1, n_head=1)).save_pretrained(
        tmp_path
    )
    opened = new_captioner(str(tmp_path), [], 3, seed=0)
    assert isinstance(opened, CaptioningNetwork) and not isinstance(opened.words, WordVocabulary)
    assert opened.words.encode(["a", "b"]) == [2, 3] and opened.words.decode([2, 3]) == "a b"
    with pytest.raises(RewardError, match="No captioner 'nowhere'"):
        new_captioner("nowhere", [], 3, seed=0)


@pytest.mark.slow
def test_the_command_goes_from_two_tables_to_a_table(tmp_path: Path) -> None:
    asked = {"drusen": ("disc", 8), "fluid": ("bar", 8)}
    real = write_set(tmp_path / "real", asked, seed=1)
    test = write_set(tmp_path / "test", asked, seed=2)
    made = write_set(tmp_path / "made", asked, seed=3)
    arguments = ["utility", "report", "--real", str(real), "--test", str(test), "--release"]
    arguments += [str(made.parent), "--steps", "2", "--draws", "1", "--ratios", "1", "--json"]
    answer = CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path / "cache")])
    assert answer.exit_code == 0, answer.output
    arms = [one["arm"] for one in json.loads(answer.stdout)["arms"]]
    assert arms[4:] == [
        "real only",
        "real + 1x copies of the real ones",
        "real + 1x made",
        "made: synthetic only",
    ]
