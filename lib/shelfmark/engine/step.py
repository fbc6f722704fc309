"""One optimizer step. Legend: N rows of this process's batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from shelfmark.core import dist
from shelfmark.core.contracts import Batch, Outputs, Proxies
from shelfmark.data.mixing import Mixing
from shelfmark.engine.progress import random_state, restore_random_state
from shelfmark.engine.state import TrainState
from shelfmark.engine.terms import LossTerm
from shelfmark.models.batch_norm import average_statistics, running_statistics

SMALLEST_SCALE = 1.0
"""The smallest factor of fp16's gradients: with it, an overflow is not due to the factor."""


@dataclass(frozen=True)
class StepResult:
    """losses: by term name, unweighted, and `loss`, the weighted sum: means over processes, 0-dim, on the device.

    gradient_norms: L2 norm of each weighted loss's gradient at the embedding; {} unless asked for. gradient_norm: L2
    norm of the whole gradient, 0-dim. skipped: why the network was not updated; empty where it was.
    """

    losses: Mapping[str, Tensor]
    gradient_norms: Mapping[str, Tensor]
    gradient_norm: Tensor
    skipped: str = ""


class TrainStep:
    """Forward, losses, backward, check, clip, update.

    clip_norm: largest L2 norm of the whole gradient; 0 is off. mixing: mixes images and labels first.
    """

    def __init__(self, state: TrainState, clip_norm: float = 0.0, mixing: Mixing | None = None) -> None:
        self.state = state
        self.clip_norm = clip_norm
        self.mixing = mixing
        # To look through the layers of a backbone that is not called would take longer than such a step.
        self._stepped = state.stepped()
        self._buffers = _Snapshot([buffer for buffer in self._stepped.buffers()])

    def __call__(
        self, batch: Batch, learning_rate: float, step: int = 0, measure_gradients: bool = False
    ) -> StepResult:
        """Updates the network by one batch. If the loss or its gradient is not finite on any process, nothing changes:
        weights, statistics, memories and the optimizer stay as they were.

        learning_rate: of this step, before each parameter group's own factor. step: the number of earlier steps; the
        losses' random draws follow from it.
        """
        state = self.state
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_factor", 1.0)
        images, labels = self._prepared(batch, step)
        self._buffers.take()
        # All processes hold equally many rows of the batch, so no gather has to exchange the numbers first.
        with dist.equal_shares():
            return self._updated(images, labels, step, measure_gradients)

    def _updated(self, images: Tensor, labels: Tensor, step: int, measure_gradients: bool) -> StepResult:
        state = self.state
        with state.precision.autocast():
            outputs = state.wrapped(images)
            losses = self._losses(outputs, labels, step)
        terms = [term for term in state.terms if term.name in losses]
        norms = self._gradient_norms(terms, losses, outputs.embedding, step) if measure_gradients else {}
        total = self._total(losses, outputs, step)
        norm = self._backward(total)
        skipped = self._why_skipped(total, norm)
        if skipped:
            self._skip()
        else:
            self._update(norm)
            average_statistics(self._stepped)
            for term in terms:
                term.remember(outputs, labels)
        return StepResult(_means({**losses, "loss": total}), _means(norms), norm.detach(), skipped)

    def is_sound(self, batch: Batch, step: int = 0) -> bool:
        """Whether the present weights give this batch a finite loss, gradient and statistics, in all processes.

        Nothing changes. The loss of a step does not show this: it is computed with the weights before the update.
        """
        state, drawn = self.state, random_state()
        images, labels = self._prepared(batch, step)
        self._buffers.take()
        try:
            with dist.equal_shares(), state.precision.autocast():
                outputs = state.wrapped(images)
                losses = self._losses(outputs, labels, step)
            state.optimizer.zero_grad(set_to_none=True)
            self._total(losses, outputs, step).backward()
            statistics = _largest(running_statistics(self._stepped))
            found = [torch.stack(list(losses.values())).sum(), self._gradient_norm(), statistics]
        finally:
            state.optimizer.zero_grad(set_to_none=True)
            self._buffers.put_back()
            restore_random_state(drawn)
        return not any(dist.any_of([~torch.isfinite(value) for value in found]))

    def _prepared(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Images and labels on the device, mixed where the stage mixes."""
        device = self.state.precision.device
        labels = batch.labels.to(device, non_blocking=True)
        images = batch.images.to(device, non_blocking=True)
        return (images, labels) if self.mixing is None else self.mixing(images, labels, step, dist.rank())

    def _losses(self, outputs: Outputs, labels: Tensor, step: int) -> dict[str, Tensor]:
        return {term.name: term.value(outputs, labels, step) for term in self._terms_for(labels, step)}

    def _total(self, losses: Mapping[str, Tensor], outputs: Outputs, step: int) -> Tensor:
        terms = [term for term in self.state.terms if term.name in losses]
        total = torch.stack([term.weight_at(step) * losses[term.name].float() for term in terms]).sum()
        return total + _zero_of(outputs) if len(terms) < len(self.state.terms) else total

    def _terms_for(self, labels: Tensor, step: int) -> list[LossTerm]:
        """The losses of weight above 0, and those that are only logged, if they can take the labels."""
        is_mixed = labels.is_floating_point()
        terms = self.state.terms
        return [term for term in terms if term.weight_at(step) or not is_mixed or term.takes_probabilities]

    def _backward(self, loss: Tensor) -> Tensor:
        """The L2 norm of the whole gradient, 0-dim."""
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        state.scaler.unscale_(state.optimizer)
        return self._gradient_norm()

    def _gradient_norm(self) -> Tensor:
        return get_total_norm([one.grad for one in self._stepped.parameters() if one.grad is not None])

    def _why_skipped(self, loss: Tensor, norm: Tensor) -> str:
        """Why the step is skipped, the same in all processes; empty if it is not. In fp16 a gradient may overflow
        because of the scaler's factor; that is no reason until the factor is at its smallest."""
        values = (loss, norm, _largest(running_statistics(self._stepped)))
        bad_loss, bad_norm, bad_statistics = dist.any_of([~torch.isfinite(value) for value in values])
        if bad_loss:
            return "the loss is not finite"
        if bad_statistics:
            return "the statistics of a batch norm are not finite"
        scaler = self.state.scaler
        is_overflow = scaler.is_enabled() and scaler.get_scale() > SMALLEST_SCALE
        return "its gradient is not finite" if bad_norm and not is_overflow else ""

    def _update(self, norm: Tensor) -> None:
        state = self.state
        if self.clip_norm:
            clip_grads_with_norm_(self._stepped.parameters(), self.clip_norm, norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()

    def _skip(self) -> None:
        self._buffers.put_back()
        if self.state.scaler.is_enabled():
            # The scaler counts the overflow and lowers its factor.
            self.state.scaler.update()
        self.state.optimizer.zero_grad(set_to_none=True)

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


class _Snapshot:
    """A copy of tensors that change in place. Its memory is allocated once, so a step costs one copy."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in tensors:
            by_kind.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        self._pairs = [(group, [one.clone() for one in group]) for group in by_kind.values()]

    @torch.no_grad()
    def take(self) -> None:
        """Copies the present values."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(copies, tensors)

    @torch.no_grad()
    def put_back(self) -> None:
        """Gives the tensors the values that they had at `take`."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(tensors, copies)


def _largest(tensors: list[Tensor]) -> Tensor:
    """The largest magnitude in the tensors, 0-dim; not finite where one of them is not."""
    if not tensors:
        return torch.zeros(())
    return torch.stack(torch._foreach_norm(tensors, float("inf"))).max()


def _zero_of(outputs: Outputs) -> Tensor:
    """0, with a gradient of zeros in every head. DistributedDataParallel waits for the gradient of each head, even of
    one that no loss reads in this step."""
    heads = [part for head in outputs.heads.values() for part in (head if isinstance(head, Proxies) else [head])]
    return torch.stack([0.0 * part.float().sum() for part in heads]).sum()


def _means(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: dist.sum_over_ranks(value.detach()) / dist.world_size() for name, value in values.items()}
