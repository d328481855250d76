import pytest

from generators.rl.config import ALGORITHMS, USUAL, RLConfig, usual


def test_an_algorithm_comes_with_its_usual_settings_and_what_is_chosen_is_stronger() -> None:
    assert set(USUAL) <= set(ALGORITHMS)
    window = RLConfig(**USUAL["window"], holds_budget=True, base_target=0.03, check_every=5)
    assert usual() == window
    assert usual(kl_target=1e-3).base_target == pytest.approx(3e-3)
    assert not usual("trl-ddpo").holds_budget  # a peer's trainer knows of none
    nft = usual("nft", learning_rate=1e-4)
    assert (nft.algorithm, nft.learning_rate) == ("nft", 1e-4)
    assert nft.lora_targets == "attention+convolutions"  # which is not the default of others
