"""torch.compile, for what a training step calls. Legend: N images of this process's batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from shelfmark.core.contracts import Outputs
from shelfmark.core.errors import UserError
from shelfmark.core.heartbeat import working
from shelfmark.models.network import Network


class CompiledNetwork(nn.Module):
    """A network whose backbone is compiled, for training; images (N, 3, H, W) to Outputs.

    The network itself stays as it was. So a state_dict has its usual names, and evaluation, whose last batch is of
    another size, neither compiles again nor differs from a later `shelfmark evaluate` by a digit. Each shape of a
    batch is compiled for itself: the digits then do not depend on which shapes came before, and a resumed run has the
    same ones.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        # A function, because a compiled module would be a second place of the same parameters.
        self._features: Callable[[Tensor], Tensor] = torch.compile(self._plain_features, dynamic=False)

    def forward(self, images: Tensor) -> Outputs:
        try:
            # The first call compiles, for longer than a process may be silent.
            with working("step"):
                embedding = self.network.embed(images, self._features)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(
                f"train.compile=true: {type(self.network.backbone).__name__} cannot be compiled ({_reason(error)})."
                " Set train.compile=false; a checkpoint of the run goes on with it."
            ) from error
        return self.network.outputs(embedding)

    def _plain_features(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.backbone(images)
        return features


def require_compiler(device: torch.device) -> None:
    """Raises a UserError unless torch.compile works on this device. It compiles one addition, which takes seconds."""
    try:
        torch.compile(_plus_one)(torch.zeros(2, device=device))
    except Exception as error:
        needs = "a C++ compiler, such as g++," if device.type == "cpu" else "a C compiler, such as gcc, and Triton"
        raise UserError(
            f"train.compile=true, but torch.compile does not work on this machine, on {device.type}:"
            f" {_reason(error)}. It needs {needs} and Python's header files (Debian and Ubuntu: apt install g++"
            " python3-dev). Install them, or set train.compile=false."
        ) from error


def _plus_one(value: Tensor) -> Tensor:
    return value + 1


def _reason(error: Exception) -> str:
    """The first line that says something; torch begins with who raised it."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.endswith("raised:")]
    return told[0].rstrip(".") if told else type(error).__name__
