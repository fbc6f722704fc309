"""The entries of `losses:`, built: each picks its input from the network's outputs. Legend: N rows of the batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shelfmark.core.contracts import Outputs, Proxies
from shelfmark.engine.memory import CrossBatchMemory
from shelfmark.losses import HeadOutput, LossFunction
from shelfmark.ops.proxies import proxy_cosines


@dataclass(frozen=True)
class LossTerm:
    """One entry of `losses:`, built.

    consumes: the kind of output that the function takes from the head. scale: factor of a cosine classifier's logits;
    a loss of cosines gets the logits divided by it. memory: rows of earlier steps, with which the batch is compared
    too. vectors_head: the head of the vectors, for a loss that consumes `logits_and_vectors`.
    first_step, end_step: the loss counts from first_step up to but not including end_step (None: to the end). In other
    steps it is only logged.
    """

    name: str
    head: str
    weight: float
    function: LossFunction
    consumes: HeadOutput = "logits"
    scale: float = 1.0
    memory: CrossBatchMemory | None = None
    first_step: int = 0
    end_step: int | None = None
    vectors_head: str = ""

    @property
    def compared_head(self) -> str:
        """The head whose vectors the loss compares and the memory holds."""
        return self.vectors_head or self.head

    @property
    def takes_probabilities(self) -> bool:
        """Whether it takes the labels of mixed images, (N, C)."""
        return getattr(self.function, "takes_probabilities", False)

    def weight_at(self, step: int) -> float:
        """The loss's factor in the sum of losses; 0 in steps where it does not count."""
        counts = self.first_step <= step and (self.end_step is None or step < self.end_step)
        return self.weight if counts else 0.0

    def value(self, outputs: Outputs, labels: Tensor, step: int) -> Tensor:
        """The unweighted loss of the batch of all processes, 0-dim, the same on each."""
        output = outputs.heads[self.head]
        if isinstance(output, Tensor) and output.ndim == 3 and self.consumes != "experts":
            output, labels = _rows_of_experts(output, labels)
        if isinstance(output, Proxies) and self.consumes == "proxies":
            return self.function.over_ranks(output.embeddings, labels, output.weight, step=step)
        remembered = self.memory.rows_at(step) if self.memory is not None else None
        memory = {"memory": remembered} if remembered is not None else {}
        if self.consumes == "logits_and_vectors":
            return self.function.over_ranks(output, labels, outputs.heads[self.vectors_head], step=step, **memory)
        return self.function.over_ranks(self._input(output), labels, step=step, **memory)

    def divisor(self, labels: Tensor, step: int) -> Tensor:
        """What the loss of rows with these labels divides by, 0-dim, for a loss that adds over rows."""
        return self.function.divisor(labels, step)

    def remember(self, outputs: Outputs, labels: Tensor) -> None:
        """Adds this batch to the memory, if there is one."""
        if self.memory is not None:
            self.memory.add(self._input(outputs.heads[self.compared_head]), labels)

    def _input(self, output: Tensor | Proxies) -> Tensor:
        if isinstance(output, Proxies):
            return proxy_cosines(output.embeddings, output.weight)
        return output / self.scale if self.consumes == "cosines" else output


def _rows_of_experts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, X, C) as (N * X, C), and each row's label, or class probabilities, repeated X times."""
    return logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1], dim=0)
