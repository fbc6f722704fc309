"""The entries of `losses:`, built: what each takes of the outputs of the network. Legend: N rows of the batch."""

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

    consumes: what the function takes of the head's output. scale: of a cosine classifier's logits, which a loss of
    cosines does without. memory: rows of earlier steps that a loss which compares rows compares this batch with too.
    vectors_head: of a loss of `logits_and_vectors`, the head of the vectors.
    first_step, end_step: the steps that count it, up to the end where that is None; at others it is logged only.
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
        if isinstance(output, Tensor) and output.ndim == 3 and self.consumes != "experts":
            output, labels = _rows_of_experts(output, labels)
        if isinstance(output, Proxies) and self.consumes == "proxies":
            return self.function.over_ranks(output.embeddings, labels, output.weight, step=step)
        remembered = self.memory.rows_at(step) if self.memory is not None else None
        memory = {"memory": remembered} if remembered is not None else {}
        if self.consumes == "logits_and_vectors":
            return self.function.over_ranks(output, labels, outputs.heads[self.vectors_head], step=step, **memory)
        return self.function.over_ranks(self._input(output), labels, step=step, **memory)

    def remember(self, outputs: Outputs, labels: Tensor) -> None:
        """Adds this batch to the memory, if there is one."""
        if self.memory is not None:
            self.memory.add(self._input(outputs.heads[self.compared_head]), labels)

    def _input(self, output: Tensor | Proxies) -> Tensor:
        if isinstance(output, Proxies):
            return proxy_cosines(output.embeddings, output.weight)
        return output / self.scale if self.consumes == "cosines" else output


def _rows_of_experts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, X, C) as (N * X, C), and each row's label, or probabilities of the classes, X times."""
    return logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1], dim=0)
