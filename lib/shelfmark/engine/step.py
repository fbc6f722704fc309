"""One optimizer step. Legend: N rows of this process's batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from shelfmark.core import dist
from shelfmark.core.contracts import Batch, Outputs, Proxies
from shelfmark.data.mixing import Mixing
from shelfmark.engine.accumulation import shares_of_parts
from shelfmark.engine.progress import random_state, restore_random_state
from shelfmark.engine.state import TrainState
from shelfmark.engine.terms import LossTerm
from shelfmark.models.backbones.checkpointing import recomputes
from shelfmark.models.batch_norm import average_statistics, running_statistics
from shelfmark.parallel.wrapping import synchronised

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

    clip_norm: largest L2 norm of the whole gradient; 0 is off. mixing: mixes images and labels first. num_parts: parts
    of this process's batch that pass the network one after the other; their gradients add up to that of the batch. All
    losses must then add over rows, see `Loss.adds_over_rows`.
    """

    def __init__(
        self, state: TrainState, clip_norm: float = 0.0, mixing: Mixing | None = None, num_parts: int = 1
    ) -> None:
        self.state = state
        self.clip_norm = clip_norm
        self.mixing = mixing
        self.num_parts = num_parts
        # To look through the layers of a backbone that is not called would take longer than such a step.
        self._stepped = state.stepped()
        buffers = list(self._stepped.buffers())
        self._buffers = _Snapshot(buffers)
        # The backward pass computes layers again, and batch norm would count the batch in its statistics twice.
        self._passed_buffers = _Snapshot(buffers) if recomputes(self._stepped) else None

    def __call__(
        self, batch: Batch, learning_rate: float, step: int = 0, measure_gradients: bool = False
    ) -> StepResult:
        """Updates the network by one batch. If the loss or its gradient is not finite on any process, nothing changes:
        weights, their average, statistics, memories and the optimizer stay as they were.

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
        passed = self._passed(images, labels, step, state.scaler.scale, measure_gradients)
        state.scaler.unscale_(state.optimizer)
        norm = self._gradient_norm()
        skipped = self._why_skipped(passed.total, norm)
        if skipped:
            self._skip()
        else:
            was_updated = self._update(norm)
            average_statistics(self._stepped)
            if state.average is not None and was_updated:
                state.average.update()
            for term in self._terms_for(labels, step):
                term.remember(passed.outputs, labels)
        norms = {name: value.sqrt() / dist.world_size() for name, value in passed.squared_norms.items()}
        return StepResult(_means({**passed.losses, "loss": passed.total}), _means(norms), norm.detach(), skipped)

    def is_sound(self, batch: Batch, step: int = 0) -> bool:
        """Whether the present weights give this batch a finite loss, gradient and statistics, in all processes.

        Nothing changes. The loss of a step does not show this: it is computed with the weights before the update. An
        average of the weights is not asked: it lies between weights that were sound.
        """
        state, drawn = self.state, random_state()
        images, labels = self._prepared(batch, step)
        self._buffers.take()
        try:
            with dist.equal_shares():
                passed = self._passed(images, labels, step, lambda loss: loss)
            statistics = _largest(running_statistics(self._stepped))
            found = [torch.stack(list(passed.losses.values())).sum(), self._gradient_norm(), statistics]
        finally:
            state.optimizer.zero_grad(set_to_none=True)
            self._buffers.put_back()
            restore_random_state(drawn)
        return not any(dist.any_of([~torch.isfinite(value) for value in found]))

    def _passed(
        self,
        images: Tensor,
        labels: Tensor,
        step: int,
        scaled: Callable[[Tensor], Tensor],
        measure_gradients: bool = False,
    ) -> _Passed:
        """Forward and backward passes of the batch, in parts; the gradient is that of the scaled loss."""
        self.state.optimizer.zero_grad(set_to_none=True)
        shares = shares_of_parts(self._terms_for(labels, step), labels, self.num_parts, step)
        parts = zip(images.tensor_split(self.num_parts), labels.tensor_split(self.num_parts), shares)
        whole: _Passed | None = None
        for number, (some_images, some_labels, share) in enumerate(parts, start=1):
            with synchronised(self.state.wrapped, number == self.num_parts):
                with self.state.precision.autocast():
                    outputs = self.state.wrapped(some_images)
                    losses = self._losses(outputs, some_labels, step, share)
                norms = self._squared_norms(losses, outputs.embedding, step) if measure_gradients else {}
                total = self._total(losses, outputs, step)
                self._backward(scaled(total))
            part = _Passed({name: loss.detach() for name, loss in losses.items()}, total.detach(), norms, outputs)
            whole = part if whole is None else whole.with_part(part)
        assert whole is not None
        return whole

    def _backward(self, loss: Tensor) -> None:
        if self._passed_buffers is None:
            loss.backward()
            return
        self._passed_buffers.take()
        loss.backward()
        self._passed_buffers.put_back()

    def _prepared(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Images and labels on the device, mixed where the stage mixes."""
        device = self.state.precision.device
        labels = batch.labels.to(device, non_blocking=True)
        images = batch.images.to(device, non_blocking=True)
        return (images, labels) if self.mixing is None else self.mixing(images, labels, step, dist.rank())

    def _losses(self, outputs: Outputs, labels: Tensor, step: int, share: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses of these rows, each times its entry in `share`, the part of the batch that the rows are.

        A loss without an entry keeps its value.
        """
        losses = {term.name: term.value(outputs, labels, step) for term in self._terms_for(labels, step)}
        return {name: loss * share[name].to(loss) if name in share else loss for name, loss in losses.items()}

    def _total(self, losses: Mapping[str, Tensor], outputs: Outputs, step: int) -> Tensor:
        terms = [term for term in self.state.terms if term.name in losses]
        total = torch.stack([term.weight_at(step) * losses[term.name].float() for term in terms]).sum()
        return total + _zero_of(outputs) if len(terms) < len(self.state.terms) else total

    def _terms_for(self, labels: Tensor, step: int) -> list[LossTerm]:
        """The losses of weight above 0, and those that are only logged, if they can take the labels."""
        is_mixed = labels.is_floating_point()
        terms = self.state.terms
        return [term for term in terms if term.weight_at(step) or not is_mixed or term.takes_probabilities]

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

    def _update(self, norm: Tensor) -> bool:
        """Whether the weights were updated: where a gradient of fp16 overflowed, the scaler makes no step."""
        state = self.state
        scale = state.scaler.get_scale()
        if self.clip_norm:
            clip_grads_with_norm_(self._stepped.parameters(), self.clip_norm, norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        return state.scaler.get_scale() >= scale

    def _skip(self) -> None:
        self._buffers.put_back()
        if self.state.scaler.is_enabled():
            # The scaler counts the overflow and lowers its factor.
            self.state.scaler.update()
        self.state.optimizer.zero_grad(set_to_none=True)

    def _squared_norms(self, losses: Mapping[str, Tensor], embedding: Tensor, step: int) -> dict[str, Tensor]:
        """The squared L2 norm, over all processes, of each weighted loss's gradient at the embedding."""
        # Taken at the embedding: it costs no pass through the backbone, and shows which loss leads it.
        if not embedding.requires_grad:
            return {}
        norms = {}
        for term in (term for term in self.state.terms if term.name in losses):
            (gradient,) = torch.autograd.grad(
                term.weight_at(step) * losses[term.name], embedding, retain_graph=True, allow_unused=True
            )
            squared = gradient.float().pow(2).sum() if gradient is not None else embedding.new_zeros(())
            # Each process holds the gradient of its own rows, scaled as DistributedDataParallel expects.
            norms[term.name] = dist.sum_over_ranks(squared)
        return norms


@dataclass(frozen=True)
class _Passed:
    """losses, total: detached. squared_norms: at the embedding, {} unless asked for. outputs: of the last part."""

    losses: Mapping[str, Tensor]
    total: Tensor
    squared_norms: Mapping[str, Tensor]
    outputs: Outputs

    def with_part(self, part: _Passed) -> _Passed:
        """The sum. Outputs of earlier parts are let go."""
        norms = _added(self.squared_norms, part.squared_norms)
        return _Passed(_added(self.losses, part.losses), self.total + part.total, norms, part.outputs)


def _added(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value + second[name] for name, value in first.items()}


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
