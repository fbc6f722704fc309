"""A network without its backbone. Legend: N batch, F features."""

from __future__ import annotations

from torch import Tensor, nn

from shelfmark.core.contracts import Outputs
from shelfmark.models.network import Network


class BehindBackbone(nn.Module):
    """The backbone's features (N, F) to Outputs, by the embedding, the classifier and the heads of a network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Outputs:
        return self.network.outputs(self.network.embedding_of(features))
