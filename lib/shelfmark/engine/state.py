"""The state of a training: one object holds everything that changes. A checkpoint saves it, a resume fills it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from shelfmark.core import dist
from shelfmark.core.log import say
from shelfmark.engine.compiled import CompiledNetwork
from shelfmark.engine.ema import WeightAverage
from shelfmark.engine.grad_cache import CachedNetwork
from shelfmark.engine.optimizer_state import named_state, restore_named_state
from shelfmark.engine.options import EmaOptions
from shelfmark.engine.precision import Precision
from shelfmark.engine.progress import Progress, random_state, restore_random_state
from shelfmark.engine.terms import LossTerm
from shelfmark.models.batch_norm import named_statistics
from shelfmark.models.behind_backbone import BehindBackbone
from shelfmark.models.network import Network
from shelfmark.parallel.wrapping import wrapped


@dataclass(kw_only=True)
class TrainState:
    """The state of a run at one moment.

    network: the weights. optimizer: of the stage in progress. terms: the losses, with their memories.
    grad_cache: images that the backbone takes at a time, see `CachedNetwork`; 0 takes the batch at once.
    from_features: whether the stage's batches hold the features of the backbone, which is frozen, in place of images.
    compiles: whether a step calls compiled code, see `CompiledNetwork`; not together with grad_cache. ema: of the
    average of the weights.
    """

    network: Network
    terms: Sequence[LossTerm]
    optimizer: torch.optim.Optimizer
    precision: Precision
    grad_cache: int = 0
    from_features: bool = False
    compiles: bool = False
    ema: EmaOptions = field(default_factory=EmaOptions)
    progress: Progress = field(default_factory=Progress)
    scaler: torch.amp.GradScaler = field(init=False)
    wrapped: nn.Module = field(init=False)
    """The network that a step calls: compiled, or within GradCache, and within DistributedDataParallel, where the run
    uses them."""
    average: WeightAverage | None = field(init=False)
    """The average of the weights over the stage in progress; None without `ema`."""

    def __post_init__(self) -> None:
        self.begin_stage(self.optimizer, self.from_features)

    def begin_stage(self, optimizer: torch.optim.Optimizer, from_features: bool = False) -> None:
        """Goes on with a new optimizer, of the parameters that are not frozen now."""
        # The last gradient of a parameter that is now frozen would count in every later norm of the whole gradient.
        self.network.zero_grad(set_to_none=True)
        self.optimizer, self.from_features = optimizer, from_features
        self.scaler = self.precision.gradient_scaler()
        self.average = WeightAverage(self.network, self.ema) if self.ema.decay else None
        self.wrapped = wrapped(self._called(), self.precision.device)

    def end_stage(self) -> None:
        """Gives the network the averaged weights, as a finetuning from the stage's checkpoint would."""
        if self.average is not None:
            self.network.load_state_dict(self.average.network.state_dict())

    def _called(self) -> nn.Module:
        if self.from_features:
            return BehindBackbone(self.network)
        if self.grad_cache:
            return CachedNetwork(self.network, self.grad_cache, self.precision)
        return CompiledNetwork(self.network) if self.compiles else self.network

    def stepped(self) -> nn.Module:
        """The part of the network that a step of this stage calls."""
        network = self.network
        if not self.from_features:
            return network
        return nn.ModuleList([network.embedding, network.classifier, network.heads])

    def weights_to_evaluate(self) -> Network:
        """The network for validation, for features and for checkpoints: that of the average, where there is one."""
        return self.network if self.average is None else self.average.network

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights to evaluate; a collective.

        optimizer: its state by parameter name. scaler. losses: the terms' names. memories: by term name, the head and
        the rows held. progress. random: the states of the layers' generators, one entry for each process. ema, where
        there is an average: num_updates, and the weights that are trained, which the average follows.
        """
        memories = {
            term.name: {"head": term.compared_head, **term.memory.state_dict()}
            for term in self.terms
            if term.memory is not None
        }
        return {
            "optimizer": named_state(self.optimizer, self.network),
            "scaler": self.scaler.state_dict(),
            "losses": [term.name for term in self.terms],
            "memories": memories,
            "progress": self.progress.state_dict(),
            "random": dist.gather_objects(random_state()),
            **self._average_state(),
        }

    def _average_state(self) -> dict[str, Any]:
        if self.average is None:
            return {}
        return {"ema": {"num_updates": self.average.num_updates, "weights": self.network.state_dict()}}

    def load_state_dict(self, state: Mapping[str, Any], same_data: bool = True) -> None:
        """Goes on from `state_dict()`; the network has the checkpoint's model already.

        same_data: False where the training annotations changed. Labels may then mean other classes, so memories start
        empty, and the epoch in progress starts anew. ValueError: the saved optimizer trained other parameters.
        """
        self._restore_average(state.get("ema"))
        restore_named_state(self.optimizer, self.network, state["optimizer"])
        self._restore_scaler(state["scaler"])
        self._restore_memories(state.get("memories", {}) if same_data else {})
        self.progress = Progress.from_state(state["progress"])
        names = [term.name for term in self.terms]
        self.progress.change_losses(state.get("losses", names), names)
        if not same_data:
            self.progress.restart_epoch()
        # More processes than before: some share a saved state, which does no harm.
        restore_random_state(state["random"][dist.rank() % len(state["random"])])

    def _restore_average(self, saved: Mapping[str, Any] | None) -> None:
        """The network still has the checkpoint's model, which is the average if the checkpoint has one."""
        if self.average is not None:
            self.average.restart(saved["num_updates"] if saved else 0)
            if not saved:
                say("train.ema: the checkpoint holds no average, so the average begins with its weights")
        elif saved:
            say("train.ema is off now: the run goes on with the weights behind the average of the checkpoint")
        if saved:
            self.network.load_state_dict(dict(saved["weights"]))

    def _restore_scaler(self, saved: Mapping[str, Any]) -> None:
        if saved and self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(saved))
        elif self.scaler.is_enabled():
            say("the checkpoint was not trained in fp16: the scale of its gradients begins anew")

    def _restore_memories(self, memories: Mapping[str, Any]) -> None:
        for term in self.terms:
            if term.memory is None:
                continue
            saved = memories.get(term.name)
            if saved is not None and saved["head"] == term.compared_head:
                term.memory.load_state_dict(saved)
            else:
                say(f"the memory of {term.name} starts empty: there is none of head {term.compared_head} to go on from")

    def broken_tensors(self) -> list[str]:
        """The names of weights, statistics, averages of them and optimizer values that hold NaN or infinity."""
        average = {} if self.average is None else _learned(self.average.network, "ema.")
        tensors = {**_learned(self.network), **average, **_optimizer_tensors(self.optimizer)}
        floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
        # Read together: reading each would stall a GPU as often as there are tensors.
        device = self.precision.device
        finite = torch.stack([torch.isfinite(value).all().to(device) for value in floats.values()])
        return [name for name, good in zip(floats, finite.tolist()) if not good]


def _learned(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    # All other buffers are constants, and a mask may well hold infinity.
    learned = {**dict(network.named_parameters()), **named_statistics(network)}
    return {f"{prefix}{name}": value for name, value in learned.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"optimizer.{number}.{name}": value
        for number, entry in enumerate(optimizer.state.values())
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }
