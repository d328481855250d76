"""What a prompt gives beside its words: condition images and a patient's record, as numbers.

Of what an image is worth, half counts whatever else was given, and half only among images that
were given like things: so a reward model learns that an image does not suit its mask.

Shapes: B images with their prompts, L landmarks, R roles, D image features, G given features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANGED_ROLES = ("prior", "source")  # an image is made from these: what counts is the change
OWN = 0.5  # the share that counts only among images that were given like things
LEAST_SPREAD = 0.05  # of a feature that hardly varies, in spreads of the others
REACH = 1.4  # of condition images, in typical distances between two of a role
APART = 2.0  # of two texts of a record, in standard deviations of a number


@dataclass(frozen=True)
class Conditioning:
    """The condition images of one prompt as renderings, and its record."""

    images: Mapping[str, Tensor] = field(default_factory=dict)  # role -> [3, H, W], [S, 3, H, W]
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ConditioningFeatures:
    """The backbone's features of what was given with one image, and the prompt's record."""

    images: Mapping[str, Tensor] = field(default_factory=dict)  # role -> [D], of `looked_at`
    record: Mapping[str, Any] = field(default_factory=dict)


def looked_at(role: str, condition: Tensor, image: Tensor) -> Tensor:
    """Return what a backbone looks at of a condition image: itself or, of a prior, the change.

    Both are renderings, [3, H, W] or slices [S, 3, H, W]; the change is grey where there is none.
    Of two sizes, the condition image is brought to the image's.
    """
    if role not in CHANGED_ROLES:
        return condition
    if condition.shape != image.shape:
        seen_S3HW = condition.reshape(-1, *condition.shape[-3:])
        places = torch.linspace(0, len(seen_S3HW) - 1, image[..., 0, 0, 0].numel()).round().long()
        size = (image.shape[-2], image.shape[-1])
        condition = functional.interpolate(
            seen_S3HW[places.to(seen_S3HW.device)], size, mode="bilinear", align_corners=False
        ).reshape(image.shape)
    return 0.5 + (image - condition) / 2


class ConditioningCode(nn.Module):
    """Conditioning things as numbers, scaled by those of the rated images.

    A part a role and a part a field, each begun by 1 where it was given, 0 where not. `fields` has
    mean and standard deviation of a number, the known values of a text.
    """

    mean_RD: Tensor
    std_RD: Tensor

    def __init__(
        self, roles: Sequence[str], fields: Mapping[str, Any], mean_RD: Tensor, std_RD: Tensor
    ) -> None:
        super().__init__()
        self.roles, self.fields = tuple(roles), dict(fields)
        self.register_buffer("mean_RD", mean_RD.float().contiguous())
        self.register_buffer("std_RD", std_RD.float().contiguous())

    @classmethod
    def learned(cls, given: Sequence[ConditioningFeatures]) -> "ConditioningCode | None":
        """Return the code of what rated images were given; None where none was given anything."""
        roles = sorted({role for each in given for role in each.images})
        values: dict[str, list[Any]] = {}
        for each in given:
            for name, value in each.record.items():
                if value is not None:
                    values.setdefault(name, []).append(value)
        if not roles and not values:
            return None
        fields: dict[str, Any] = {}
        for name, seen in sorted(values.items()):
            if all(isinstance(value, int | float) for value in seen):
                numbers = torch.tensor(seen, dtype=torch.float64)
                std = float(numbers.std(correction=0)) or 1.0
                fields[name] = {"mean": float(numbers.mean()), "std": std}
            else:
                fields[name] = sorted({str(value) for value in seen})
        own = [torch.stack([g.images[r] for g in given if r in g.images]) for r in roles]
        means, stds = [torch.zeros(0, 0)], [torch.zeros(0, 0)]
        if own:
            means = [own_ND.mean(0, keepdim=True) for own_ND in own]
            stds = [own_ND.std(0, correction=0, keepdim=True) for own_ND in own]
            stds = [std.clamp(min=max(LEAST_SPREAD * float(std.mean()), 1e-6)) for std in stds]
        return cls(roles, fields, torch.cat(means), torch.cat(stds))

    def forward(self, given: Sequence[ConditioningFeatures]) -> Tensor:
        """Return [B, G]; in each part, likeness falls with half the square of the distance."""
        rows = []
        for each in given:
            parts = []
            for place, role in enumerate(self.roles):
                seen_D = torch.zeros_like(self.mean_RD[place])
                if role in each.images:
                    seen_D = (each.images[role] - self.mean_RD[place]) / self.std_RD[place]
                reach = REACH * len(seen_D) ** 0.5
                parts += [seen_D.new_tensor([role in each.images]), seen_D / reach]
            for name, known in self.fields.items():
                value = each.record.get(name)
                if isinstance(known, dict):
                    is_known = isinstance(value, int | float)
                    told = [(value - known["mean"]) / known["std"] if is_known else 0.0]
                else:
                    is_known = value is not None
                    told = [APART * (str(value) == each_value) for each_value in known]
                parts.append(self.mean_RD.new_tensor([float(is_known), *told]))
            rows.append(torch.cat(parts))
        return torch.stack(rows)

    def likeness(self, given_BG: Tensor, others_LG: Tensor) -> Tensor:
        """Return how alike the given things are [B, L], 0 .. 1; 1 where neither has any.

        Each role counts as much as the record, whose fields share its part.
        """
        widths = [1 + self.mean_RD.shape[1]] * len(self.roles)
        widths += [2 if isinstance(each, dict) else 1 + len(each) for each in self.fields.values()]
        alike = []
        for own, other in zip(given_BG.split(widths, 1), others_LG.split(widths, 1), strict=True):
            distance_BL = (own[:, None, 1:] - other[None, :, 1:]).square().sum(2)
            both_BL = own[:, :1] * other[:, 0]
            neither_BL = (1 - own[:, :1]) * (1 - other[:, 0])
            alike.append(neither_BL + both_BL * torch.exp(-distance_BL / 2))
        images, record = alike[: len(self.roles)], alike[len(self.roles) :]
        if record:
            images.append(torch.stack(record).mean(0))
        return torch.stack(images).mean(0)
