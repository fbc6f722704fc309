"""One optimizer step. Legend: N rows of this process's batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shelfmark.core import dist
from shelfmark.core.contracts import Batch, Outputs, Proxies
from shelfmark.core.log import say
from shelfmark.data.mixing import Mixing
from shelfmark.engine.grad_cache import CachedNetwork
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.engine.precision import Precision
from shelfmark.losses import LossFunction, Takes
from shelfmark.models import Network
from shelfmark.ops.proxies import proxy_cosines


@dataclass(frozen=True)
class LossTerm:
    """One entry of `losses:`, built.

    takes: what the function wants of the head's output. scale: of a cosine classifier's logits, which a loss of
    cosines does without. memory: rows of earlier steps that a loss which compares rows compares this batch with too.
    vectors_head: of a loss of `logits_and_vectors`, the head of the vectors.
    first_step, end_step: the steps that count it, up to the end where that is None; at others it is logged only.
    """

    name: str
    head: str
    weight: float
    function: LossFunction
    takes: Takes = "logits"
    scale: float = 1.0
    memory: CrossBatchMemory | None = None
    first_step: int = 0
    end_step: int | None = None
    vectors_head: str = ""

    @property
    def compared_head(self) -> str:
        """The head whose vectors are compared, and held by the memory."""
        return self.vectors_head or self.head

    @property
    def takes_probabilities(self) -> bool:
        """Whether it takes the labels of mixed images, (N, C)."""
        return getattr(self.function, "takes_probabilities", False)

    def weight_at(self, step: int) -> float:
        """Its factor in the sum of losses."""
        counts = self.first_step <= step and (self.end_step is None or step < self.end_step)
        return self.weight if counts else 0.0

    def value(self, outputs: Outputs, labels: Tensor, step: int) -> Tensor:
        """The unweighted loss of the batch of all processes, 0-dim, the same on each."""
        output = outputs.heads[self.head]
        if isinstance(output, Tensor) and output.ndim == 3 and self.takes != "experts":
            output, labels = _rows_of_experts(output, labels)
        if isinstance(output, Proxies) and self.takes == "proxies":
            return self.function.over_ranks(output.vectors, labels, output.weight, step=step)
        remembered = self.memory.rows_at(step) if self.memory is not None else None
        memory = {"memory": remembered} if remembered is not None else {}
        if self.takes == "logits_and_vectors":
            return self.function.over_ranks(output, labels, outputs.heads[self.vectors_head], step=step, **memory)
        return self.function.over_ranks(self._input(output), labels, step=step, **memory)

    def remember(self, outputs: Outputs, labels: Tensor) -> None:
        """Adds this batch to the memory, if there is one."""
        if self.memory is not None:
            self.memory.add(self._input(outputs.heads[self.compared_head]), labels)

    def _input(self, output: Tensor | Proxies) -> Tensor:
        if isinstance(output, Proxies):
            return proxy_cosines(output.vectors, output.weight)
        return output / self.scale if self.takes == "cosines" else output


@dataclass(frozen=True)
class StepResult:
    """losses: by term name, unweighted, and `loss`, the weighted sum: means over processes, 0-dim, on the device.
    gradient_norms: L2 norm of each weighted loss's gradient at the embedding, only when asked for."""

    losses: Mapping[str, Tensor]
    gradient_norms: Mapping[str, Tensor]


class TrainStep:
    """Forward, losses, backward, clip, update.

    grad_cache: images that the backbone takes at a time, see `CachedNetwork`; 0 takes the batch at once.
    mixing: mixes images and labels first.
    """

    def __init__(
        self,
        network: Network,
        terms: Sequence[LossTerm],
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        clip_norm: float = 0.0,
        grad_cache: int = 0,
        mixing: Mixing | None = None,
    ) -> None:
        self.network = network
        self.terms = list(terms)
        self.optimizer = optimizer
        self.precision = precision
        self.clip_norm = clip_norm
        self.mixing = mixing
        self.scaler = precision.gradient_scaler()
        whole_pass = CachedNetwork(network, grad_cache, precision) if grad_cache else network
        self._forward = _distributed(whole_pass, precision.device)

    def __call__(
        self, batch: Batch, learning_rate: float, step: int = 0, measure_gradients: bool = False
    ) -> StepResult:
        """Updates the network by one batch.

        learning_rate: of this step, before each parameter group's own factor. step: how many came before, which
        decides the losses' random draws.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_factor", 1.0)
        labels = batch.labels.to(self.precision.device, non_blocking=True)
        images = batch.images.to(self.precision.device, non_blocking=True)
        if self.mixing is not None:
            images, labels = self.mixing(images, labels, step, dist.rank())
        with self.precision.autocast():
            outputs = self._forward(images)
            terms = self._terms_for(labels, step)
            losses = {term.name: term.value(outputs, labels, step) for term in terms}
        norms = self._gradient_norms(terms, losses, outputs.embedding, step) if measure_gradients else {}
        total = torch.stack([term.weight_at(step) * losses[term.name].float() for term in terms]).sum()
        if len(terms) < len(self.terms):
            total = total + _zero_of(outputs)
        self._update(total)
        for term in terms:
            term.remember(outputs, labels)
        return StepResult(_means({**losses, "loss": total}), _means(norms))

    def state_dict(self) -> dict[str, Any]:
        """optimizer, scaler; memories: by the term's name, its head and what its memory holds."""
        memories = {
            term.name: {"head": term.compared_head, **term.memory.state_dict()}
            for term in self.terms
            if term.memory is not None
        }
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "memories": memories}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state_dict()`. A memory that it lacks, or that another head filled, starts empty."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for term in self.terms:
            if term.memory is None:
                continue
            saved = state.get("memories", {}).get(term.name)
            if saved is not None and saved["head"] == term.compared_head:
                term.memory.load_state_dict(saved)
            else:
                say(f"the memory of {term.name} starts empty: there is none of head {term.compared_head} to go on from")

    def _terms_for(self, labels: Tensor, step: int) -> list[LossTerm]:
        """Those that count, and of the others those that can be logged: not every loss takes mixed labels."""
        is_mixed = labels.is_floating_point()
        return [term for term in self.terms if term.weight_at(step) or not is_mixed or term.takes_probabilities]

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _gradient_norms(
        self, terms: Sequence[LossTerm], losses: Mapping[str, Tensor], embedding: Tensor, step: int
    ) -> dict[str, Tensor]:
        # Taken at the embedding: it costs no pass through the backbone, and shows which loss leads it.
        if not embedding.requires_grad:
            return {}
        norms = {}
        for term in terms:
            (gradient,) = torch.autograd.grad(
                term.weight_at(step) * losses[term.name], embedding, retain_graph=True, allow_unused=True
            )
            squared = gradient.float().pow(2).sum() if gradient is not None else embedding.new_zeros(())
            # Each process holds the gradient of its own rows, scaled as DistributedDataParallel expects.
            norms[term.name] = dist.sum_over_ranks(squared).sqrt() / dist.world_size()
        return norms


def _zero_of(outputs: Outputs) -> Tensor:
    """0, whose gradient is zeros in every head: DistributedDataParallel waits for those that no loss reads now too."""
    heads = [part for head in outputs.heads.values() for part in (head if isinstance(head, Proxies) else [head])]
    return torch.stack([0.0 * part.float().sum() for part in heads]).sum()


def _rows_of_experts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, E, C) as (N * E, C), and each row's label, or probabilities of the classes, E times."""
    return logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1], dim=0)


def _distributed(network: nn.Module, device: torch.device) -> nn.Module:
    if dist.world_size() == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)


def _means(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: dist.sum_over_ranks(value.detach()) / dist.world_size() for name, value in values.items()}
