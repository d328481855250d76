from generators.rl.config import ALGORITHMS, USUAL, RLConfig, usual


def test_an_algorithm_comes_with_its_usual_settings_and_what_is_chosen_is_stronger() -> None:
    assert set(USUAL) <= set(ALGORITHMS)
    assert usual() == RLConfig()
    nft = usual("nft", learning_rate=1e-4)
    assert (nft.algorithm, nft.learning_rate) == ("nft", 1e-4)
    assert nft.lora_targets == "attention+convolutions"  # which is not the default of others
