"""The network as it is exported: from uint8 pixels to embedding and logits, in float32.

Legend: N pictures, H x W pixels, D embedding, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shelfmark.core.contracts import Proxies
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.models.adapters import merge_adapters
from shelfmark.models.network import Network
from shelfmark.models.options import AdapterOptions

EMBEDDING, LOGITS, PIXELS = "embedding", "logits", "pixels"
_BLOCK = 16
"""Pictures that are passed at a time."""


class ExportedNetwork(nn.Module):
    """Pixels (N, H, W, 3) uint8 RGB, of the input's size, to a tuple: embedding (N, D), logits (N, C), and the heads
    that are asked for. Normalisation is within. On the CPU, in evaluation mode; low-rank adapters are merged.

    network: is copied. size_px: height and width of the input, the only ones that an exported file takes. heads: names
    of metric and proxy heads, or of experts' logits.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: Network,
        adapters: AdapterOptions,
        mean: Sequence[float],
        std: Sequence[float],
        size_px: int,
        heads: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float().eval()
        if adapters.rank:
            self.network.backbone = merge_adapters(self.network.backbone)
        _fix_size(self.network.backbone, size_px)
        # A memory format is a hint about speed, and exporters write it as copies.
        self.network.memory_format = torch.contiguous_format
        self.network.to(memory_format=torch.contiguous_format)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.heads = _known(heads, self._names())
        self.requires_grad_(False)

    @property
    def output_names(self) -> tuple[str, ...]:
        return (EMBEDDING, LOGITS, *(f"head.{name}" for name in self.heads))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.of_images((pixels.permute(0, 3, 1, 2).to(torch.float32) / 255 - self.mean) / self.std)

    def of_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """As `forward`, for normalised images (N, 3, H, W), as a transform gives them."""
        embedding = self.network.embed(images)
        outputs = self.network.outputs(embedding).heads
        others = [outputs[name] for name in ("classifier", *self.heads)]
        vectors = [one.embeddings if isinstance(one, Proxies) else one for one in others]
        return (embedding, *vectors)

    def passed(self, images: Tensor) -> list[Tensor]:
        """As `of_images`, for any number of images, a few at a time."""
        with torch.inference_mode():
            blocks = [self.of_images(block) for block in images.split(_BLOCK)]
        return [torch.cat(parts) for parts in zip(*blocks, strict=True)]

    def _names(self) -> list[str]:
        experts = self.network.num_experts
        numbers = [f"expert_{number}" for number in range(1, experts + 1)] if experts > 1 else []
        return [*self.network.heads, *(["experts"] if numbers else []), *numbers]


def _fix_size(backbone: nn.Module, size_px: int) -> None:
    """Resamples the positions of a transformer once, as its pass does for each picture: exporters cannot write that."""
    for module in backbone.modules():
        resample: Any = getattr(module, "set_input_size", None)
        if resample is not None and getattr(module, "dynamic_img_size", False):
            with torch.no_grad():
                resample(img_size=(size_px, size_px))


def _known(heads: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    for head in heads:
        if head not in names:
            close = did_you_mean(head, names)
            meant = f" Did you mean {close}?" if close else ""
            there = ", ".join(names) or "none besides the classifier, whose logits are always written"
            raise UserError(f"--heads {head}: the model has no such head; it has: {there}.{meant}")
    return tuple(dict.fromkeys(heads))
