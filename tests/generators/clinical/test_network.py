"""How a text acts in the network: nothing at first, then where it says."""

from typing import Any

import pytest
import torch
from torch import Tensor

from generators.clinical.config import FUSIONS
from generators.clinical.network import ClinicalUNet

WIDTH, TOKENS = 8, 5


def network(*units: str, sides: tuple[int, ...] = (8, 8, 8)) -> ClinicalUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net: ClinicalUNet = ClinicalUNet(sides, 3, units, (8, 12), WIDTH)
        return net


def weight_out(net: ClinicalUNet) -> Tensor:
    weight = net.conv_out.weight
    assert isinstance(weight, Tensor)
    return weight


def inputs(sides: tuple[int, ...] = (8, 8, 8)) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    draws = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (2, *sides), generator=draws)
    masks = torch.stack([(labels == label).float() for label in range(3)], dim=1)
    sample = torch.cat([torch.randn(2, 1, *sides, generator=draws), masks], dim=1)
    tokens = torch.randn(2, TOKENS, WIDTH + 1, generator=draws)
    tokens[..., -1] = 1
    text = {"pooled": torch.randn(2, WIDTH, generator=draws), "tokens": tokens}
    return sample, torch.tensor([3, 200]), text


def shaken(net: ClinicalUNet) -> ClinicalUNet:
    """Give every weight that is 0 at first a value."""
    draws = torch.Generator().manual_seed(2)
    for weight in net.parameters():
        if not weight.detach().any():
            weight.data.normal_(0, 0.1, generator=draws)
    return net


@pytest.mark.parametrize("unit", FUSIONS)
@pytest.mark.parametrize("sides", [(8, 8, 8), (8, 8)])
def test_a_unit_changes_nothing_before_it_has_learned(unit: str, sides: tuple[int, ...]) -> None:
    with_text, without = network(unit, sides=sides), network(sides=sides)
    for net in (with_text, without):
        torch.nn.init.normal_(weight_out(net), generator=torch.Generator().manual_seed(3))
    kept = {k: v for k, v in with_text.state_dict().items() if k in without.state_dict()}
    without.load_state_dict(kept)
    sample, t, text = inputs(sides)
    told, plain = with_text(sample, t, text), without(sample, t, text)
    assert plain.abs().mean() > 0.1
    torch.testing.assert_close(told, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("unit", FUSIONS)
def test_a_units_weights_get_a_gradient_and_the_text_then_acts(unit: str) -> None:
    net = network(unit)
    torch.nn.init.normal_(weight_out(net), generator=torch.Generator().manual_seed(3))
    sample, t, text = inputs()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):  # what stands before a 0 gets its gradient after the first step
        optimizer.zero_grad()
        net(sample, t, text).square().mean().backward()
        optimizer.step()
    own = {"region": "region", "affine": "affine", "cross-attention": "attention"}[unit]
    of_unit = {name: weight for name, weight in net.named_parameters() if f".{own}." in name}
    assert len(of_unit) > 4
    for name, weight in of_unit.items():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    other = {name: -part for name, part in text.items()}
    other["tokens"][..., -1] = 1
    assert (net(sample, t, text) - net(sample, t, other)).abs().max() > 1e-4


def test_without_a_unit_no_text_acts() -> None:
    net = shaken(network())
    sample, t, text = inputs()
    assert torch.equal(net(sample, t, text), net(sample, t, {}))


def test_a_regions_offsets_are_those_of_its_label() -> None:
    region: Any = shaken(network("region")).mid.region
    masks = torch.zeros(1, 3, 2, 2, 2)
    masks[0, 1, 0], masks[0, 2, 1] = 1, 1
    pooled = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(0))
    placed = region(torch.zeros(1, 12, 2, 2, 2), masks, pooled)
    offsets = (region.to_offsets.weight @ pooled[0] + region.to_offsets.bias).view(3, 12)
    torch.testing.assert_close(placed[0, :, 0, 1, 1], offsets[1])
    torch.testing.assert_close(placed[0, :, 1, 0, 1], offsets[2])


def test_padding_tokens_are_not_looked_at() -> None:
    net = shaken(network("cross-attention"))
    sample, t, text = inputs()
    longer = torch.cat([text["tokens"], torch.randn(2, 3, WIDTH + 1)], dim=1)
    longer[:, TOKENS:, -1] = 0
    padded = net(sample, t, {**text, "tokens": longer})
    torch.testing.assert_close(padded, net(sample, t, text), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sides", [(5, 9, 7), (1, 8, 8)])
def test_any_size_is_predicted(sides: tuple[int, ...]) -> None:
    sample, t, text = inputs(sides)
    assert network("region")(sample, t, text).shape == (2, 1, *sides)


def test_with_checkpointing_the_gradient_is_the_same() -> None:
    gradients = []
    for checkpointed in (False, True):
        net = shaken(network(*FUSIONS))
        if checkpointed:
            net.enable_gradient_checkpointing()
        sample, t, text = inputs()
        net(sample, t, text).square().mean().backward()
        gradients.append([weight.grad for weight in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)
