"""Four small backbones that share no idea of how to look: residual, depthwise, gated and dense.

Each maps float32 images [B, 3, 64, 64] in [0, 1] to features [B, dim].
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rewards.frozen.corruptions import cosine_basis


def _conv(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)


def with_detail(images_BCHW: Tensor) -> Tensor:
    """Return image and fine detail, [B, 6, H, W]: softness and noise show most in the latter."""
    padded = functional.pad(images_BCHW, (1, 1, 1, 1), mode="replicate")
    detail = images_BCHW - functional.avg_pool2d(padded, 3, stride=1)
    return torch.cat([images_BCHW * 4 - 2, detail * 12], dim=1)


class _ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm_1, self.conv_1 = nn.BatchNorm2d(channels_in), _conv(channels_in, channels_out)
        self.conv_1.stride = (stride, stride)
        self.norm_2, self.conv_2 = nn.BatchNorm2d(channels_out), _conv(channels_out, channels_out)
        same = channels_in == channels_out
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.norm_1(x))
        inner = self.conv_2(functional.relu(self.norm_2(self.conv_1(active))))
        summed: Tensor = self.skip(x) + inner
        return summed


class ResidualNetwork(nn.Module):
    """Pre-activation residual blocks of 3 x 3 convolutions (He et al. 2016). For `eyes`."""

    dim: ClassVar[int] = 2 * 112  # mean and largest activation of each channel

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(6, 28, stride=2)
        widths = [(28, 28, 1), (28, 28, 1), (28, 56, 2), (56, 56, 1), (56, 112, 2), (112, 112, 1)]
        self.blocks = nn.Sequential(*(_ResidualBlock(*width) for width in widths))
        self.norm = nn.BatchNorm2d(112)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return features [B, dim]."""
        x = functional.relu(self.norm(self.blocks(self.stem(with_detail(images_BCHW)))))
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)


class _DepthwiseBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 3 * channels)
        self.narrow = nn.Linear(3 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16 a CPU is slow at these
            spatial = self.spatial(x.float())
        inner = functional.silu(self.widen(self.norm(spatial.permute(0, 2, 3, 1))))
        change: Tensor = self.scale * self.narrow(inner)
        return x + change.permute(0, 3, 1, 2)


class DepthwiseNetwork(nn.Module):
    """Cosine coefficients of overlapping 8 x 8 patches, then depthwise filters. For `judge`.

    The blocks are ConvNeXt's (Liu et al. 2022). Coefficients go through asinh, so that a change
    from little fine detail to none is as visible as one from much to more.
    """

    dim: ClassVar[int] = 2 * 144  # mean and spread of each channel
    patches: Tensor

    def __init__(self) -> None:
        super().__init__()
        basis_KK = cosine_basis(8)
        patches = torch.einsum("ik,jl->ijkl", basis_KK, basis_KK).reshape(64, 1, 8, 8)
        self.register_buffer("patches", patches.repeat(3, 1, 1, 1), persistent=False)
        self.layers = nn.Sequential(
            nn.Conv2d(192, 72, 1),
            *(_DepthwiseBlock(72) for _ in range(3)),
            nn.Conv2d(72, 144, 2, 2),
            *(_DepthwiseBlock(144) for _ in range(3)),
        )
        self.norm = nn.LayerNorm(144)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return features [B, dim]."""
        padded = functional.pad(images_BCHW.float(), (2, 2, 2, 2), mode="replicate")
        with torch.autocast(images_BCHW.device.type, enabled=False):  # detail is lost in bfloat16
            coefficients = functional.conv2d(padded, self.patches, stride=4, groups=3)
        x = self.norm(self.layers((coefficients * 30).asinh() / 2).permute(0, 2, 3, 1))
        return torch.cat([x.mean(dim=(1, 2)), x.std(dim=(1, 2))], dim=1)


class _GatedBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = _conv(channels_in, channels_out, stride=stride)
        self.norm = nn.BatchNorm2d(channels_out)
        self.gate = nn.Linear(channels_out, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.norm(self.conv(x)))
        open_BC: Tensor = self.gate(x.mean(dim=(2, 3))).sigmoid()
        return x * open_BC[:, :, None, None]


class GatedNetwork(nn.Module):
    """A plain chain of convolutions whose channels are gated by the whole image. For `encoder`."""

    dim: ClassVar[int] = 192

    def __init__(self) -> None:
        super().__init__()
        widths = [(6, 24, 2), (24, 48, 1), (48, 64, 2), (64, 64, 1), (64, 112, 2), (112, 112, 1)]
        self.blocks = nn.Sequential(*(_GatedBlock(*width) for width in widths))
        self.project = nn.Linear(2 * 112, 192)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return features [B, dim]: means and spreads of the channels, mixed."""
        x = self.blocks(with_detail(images_BCHW))
        spread = (x.var(dim=(2, 3), unbiased=False) + 1e-4).sqrt()
        features: Tensor = self.project(torch.cat([x.mean(dim=(2, 3)), spread], dim=1))
        return features


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm_1, self.squeeze = (
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 2 * growth, 1, bias=False),
        )
        self.norm_2, self.conv = nn.BatchNorm2d(2 * growth), _conv(2 * growth, growth)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.squeeze(functional.relu(self.norm_1(x)))
        return torch.cat([x, self.conv(functional.relu(self.norm_2(inner)))], dim=1)


class DenseNetwork(nn.Module):
    """Layers see all earlier ones of their stage (DenseNet, Huang et al. 2017). For `features`."""

    dim: ClassVar[int] = 128

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 24, stride=2)]
        channels = 24
        for depth, growth in ((3, 12), (4, 20), (4, 32)):
            for _ in range(depth):
                layers.append(_DenseLayer(channels, growth))
                channels += growth
            if growth < 32:
                layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
                channels //= 2
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.project = nn.Linear(channels * 4, 128)  # a 2 x 2 grid keeps what lies where

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return features [B, dim]."""
        x = functional.adaptive_avg_pool2d(self.layers(images_BCHW * 4 - 2), 2)
        features: Tensor = self.project(x.flatten(1))
        return features
