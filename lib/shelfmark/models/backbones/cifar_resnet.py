"""The ResNet for 32 px pictures: three stages of 16, 32 and 64 channels.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
Legend: N batch, H x W pixels, C channels of a map.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from shelfmark.models.backbones.pooling import GlobalPooling
from shelfmark.models.options import PoolingOptions

_STAGE_CHANNELS = (16, 32, 64)


class CifarResNet(nn.Module):
    """Images (N, 3, H, W) to pooled features (N, 64), with `6 * blocks_per_stage + 1` convolutions.

    The first stage keeps the picture's size, the others halve it. Modules are named as in timm's ResNets. Depths count
    the classifier too: 5 blocks a stage are ResNet-32. First weights: He et al. 2015, eq. 10, for fan-in.
    """

    num_features = _STAGE_CHANNELS[-1]

    def __init__(self, blocks_per_stage: int) -> None:
        super().__init__()
        first = _STAGE_CHANNELS[0]
        self.conv1 = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.act1 = nn.ReLU(inplace=True)
        self.layer1 = _stage(first, _STAGE_CHANNELS[0], blocks_per_stage, stride=1)
        self.layer2 = _stage(_STAGE_CHANNELS[0], _STAGE_CHANNELS[1], blocks_per_stage, stride=2)
        self.layer3 = _stage(_STAGE_CHANNELS[1], _STAGE_CHANNELS[2], blocks_per_stage, stride=2)
        self.global_pool = GlobalPooling(PoolingOptions(name="avg"))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        maps = self.act1(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.global_pool(maps)


class _BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters: the paper's option A."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = nn.ReLU(inplace=True)
        self.stride = stride
        self.new_channels = channels - channels_in

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(maps)))))
        return self.act2(residual + self._shortcut(maps))

    def _shortcut(self, maps: Tensor) -> Tensor:
        """Every `stride`-th pixel, with channels of zeros, half of them in front of the others and half behind."""
        if not self.new_channels:
            return maps
        before = self.new_channels // 2
        strided = maps[:, :, :: self.stride, :: self.stride]
        return functional.pad(strided, (0, 0, 0, 0, before, self.new_channels - before))


def _stage(channels_in: int, channels: int, num_blocks: int, stride: int) -> nn.Sequential:
    blocks = [_BasicBlock(channels_in, channels, stride)]
    blocks += [_BasicBlock(channels, channels, 1) for _ in range(num_blocks - 1)]
    return nn.Sequential(*blocks)
