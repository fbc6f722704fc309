"""Any loss of pytorch-metric-learning that owns no parameters. Legend: N batch, D embedding."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core import dist
from shelfmark.core.contracts import UNLABELLED
from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import derive_seed
from shelfmark.core.seeding import seeded
from shelfmark.losses.entries import LossContext, LossEntry
from shelfmark.losses.loss import HeadOutput, Loss, option
from shelfmark.ops.labelled import labelled_rows
from shelfmark.ops.similarity import compute_dtype, full_precision, require_comparable

OUR_NAMES = {
    "ArcFaceLoss": "arcface",
    "CosFaceLoss": "cosface",
    "NormalizedSoftmaxLoss": "proxy_nca",
    "ProxyAnchorLoss": "proxy_anchor",
    "ProxyNCALoss": "proxy_nca",
    "SoftTripleLoss": "soft_triple",
    "SubCenterArcFaceLoss": "arcface",
}
"""Its losses that own proxies or class weights, and the entry of ours that takes them from a head."""


_INSTEAD = {"DynamicSoftMarginLoss": "triplet, margin: 0", "SmoothAPLoss": "smooth_ap", "VICRegLoss": "sup_con"}
"""Its losses that cannot be called step by step on a batch with labels, and an entry of ours that can."""


@dataclass(frozen=True, eq=False)
class PytorchMetricLearning(Loss):
    """A loss of pytorch-metric-learning, alone or with a miner of that package.

    Rows with label -1 are dropped; without any other row the loss is 0, and so it is where it would be NaN because no
    row has a positive or the miner keeps nothing. The denominator is the loss's own.
    Whatever the two draw from torch's generators follows from `seed` and the step, and is put back afterwards.
    """

    consumes: ClassVar[HeadOutput] = "vectors"

    loss: Callable[..., Tensor]
    miner: Callable[..., Any] | None = None
    seed: int = 0

    def __call__(self, embedding: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of this batch alone, 0-dim. embedding: (N, D). labels: (N,) whole numbers, -1 where there is none.

        float64 stays float64, anything else is computed in float32. UserError: a row with a label that is not finite.
        """
        return self._value(embedding, labels, step, raises=True)

    def over_ranks(self, embedding: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim; embedding and labels are this one's part.

        Every process computes all of it, by the gradient rule of `shelfmark.core.dist`. Where a row with a label is
        not finite, on any process, the loss is NaN on each.
        """
        return self._value(dist.gather_rows(embedding), dist.gather_rows(labels), step, raises=False)

    def _value(self, embedding: Tensor, labels: Tensor, step: int, raises: bool) -> Tensor:
        require_comparable(embedding, labels, embedding, labels)
        batch = labelled_rows(embedding, labels, "embedding", raises=raises)
        is_labelled = batch.labels != UNLABELLED
        vectors, labels = batch.rows[is_labelled].to(compute_dtype(embedding)), batch.labels[is_labelled]
        if not len(labels):
            return vectors.sum() * batch.soundness
        with full_precision(vectors.device), seeded(derive_seed(self.seed, "losses.pml", step), vectors.device):
            mined = self.miner(vectors, labels) if self.miner else None
            value = self.loss(vectors, labels, mined)
        if bool(value.isnan()) and (len(labels.unique()) == len(labels) or _is_empty(mined)):
            value = 0 * vectors.sum()
        return value * batch.soundness


@dataclass(frozen=True, kw_only=True)
class LibraryEntry(LossEntry):
    """An entry that names classes of the library; its options are theirs, given by name."""

    loss: str = option(..., "name of a class in pytorch_metric_learning.losses")
    arguments: dict[str, Any] = field(
        default_factory=dict, metadata={"description": "keyword arguments of the loss's class"}
    )
    miner: str = option("", "name of a class in pytorch_metric_learning.miners. '': no miner")
    miner_arguments: dict[str, Any] = field(
        default_factory=dict, metadata={"description": "keyword arguments of the miner's class"}
    )

    def check_options(self) -> None:
        if self.miner_arguments and not self.miner:
            raise ValueError(f"miner_arguments={self.miner_arguments} need a miner: name it with miner=")

    def build(self, context: LossContext) -> PytorchMetricLearning:
        """UserError: the package is missing or has no such class, or the class owns parameters or fails in a trial."""
        losses, miners = _library()
        if self.loss in OUR_NAMES:
            raise UserError(_owns_parameters(self.loss))
        loss = _made("loss", losses, losses.BaseMetricLossFunction, self.loss, self.arguments)
        if any(True for _ in loss.parameters()):
            raise UserError(_owns_parameters(self.loss))
        miner = _made("miner", miners, miners.BaseMiner, self.miner, self.miner_arguments) if self.miner else None
        built = PytorchMetricLearning(loss, miner, context.seed)
        with_miner = f" with {self.miner}" if self.miner else ""
        reason = _trial(PytorchMetricLearning(copy.deepcopy(loss), copy.deepcopy(miner), context.seed))
        if reason:
            ours = _INSTEAD.get(self.loss)
            another = "Choose another loss" + (" or no miner" if self.miner else "")
            instead = f"Ours is: losses: [{{head: {self.head}, name: {ours}}}]" if ours else another
            raise UserError(
                f"losses: pml: {self.loss}{with_miner} cannot train here: {reason}. {instead}; a loss must take any"
                " batch with labels, and no step may depend on the steps before, which no checkpoint would hold."
            )
        return built


_TRIAL_CLASSES = ((0, 0, 0, 1, 1, 2), (0, 0, 1, 1, 1), (0, 1, 2), (0, 0, 0), (0,), (0, 0, 1, 1, 2, 2))
"""Classes of different sizes, without positives, without negatives, a single row, and classes of one size."""


def _trial(loss: PytorchMetricLearning) -> str:
    """What goes wrong in steps on small batches, '' for nothing. It leaves torch's generators as they were."""
    seen: dict[tuple[int, ...], float] = {}
    for classes in (*_TRIAL_CLASSES, *_TRIAL_CLASSES):
        numbers = torch.arange(8 * len(classes), dtype=torch.float32)
        vectors = normalize((1.7 * numbers.square()).cos().reshape(len(classes), 8)).requires_grad_()
        where = f"on a batch of classes {list(classes)}"
        try:
            value = loss(vectors, torch.tensor(classes))
            gradient = torch.autograd.grad(value, vectors)[0] if value.requires_grad else vectors.detach()
        except Exception as error:  # another library's: it may raise anything
            return f"{where} it raises {type(error).__name__}: {error}".splitlines()[0]
        number = float(value.detach())
        if not (math.isfinite(number) and bool(gradient.isfinite().all())):
            return f"{where} its value or gradient is not finite"
        if seen.setdefault(classes, number) != number:
            return f"{where} its value depends on the batches before"
    return ""


def _is_empty(mined: Any) -> bool:
    """Whether a miner kept no pair or triplet."""
    return isinstance(mined, tuple) and not any(len(part) for part in mined)


def _library() -> tuple[ModuleType, ModuleType]:
    """Its modules of losses and of miners."""
    try:
        from pytorch_metric_learning import losses, miners
    except ImportError as error:
        raise UserError(
            f"losses: pml needs a package that cannot be imported ({error}): pip install pytorch-metric-learning"
        ) from error
    return losses, miners


def _made(option: str, module: ModuleType, base: type, name: str, arguments: Mapping[str, Any]) -> Any:
    """An object of the class `name` of the module, one that derives from `base`."""
    classes = {key: one for key, one in inspect.getmembers(module, inspect.isclass) if base in one.__mro__[1:]}
    made = classes[choose(f"losses: pml: {option}", name, classes)]
    try:
        return made(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(
            f"losses: pml: {name} cannot be made with {dict(arguments)}: {error}. It takes: {inspect.signature(made)}"
        ) from error


def _owns_parameters(name: str) -> str:
    ours = OUR_NAMES.get(name)
    instead = (
        f"Ours takes them from a head: losses: [{{name: {ours}, head: proxies}}] with"
        " model.heads: {proxies: {type: proxy, dim: 128}}"
        if ours
        else "Choose one without, such as NTXentLoss, or make them numbers, as with learn_beta: false"
    )
    return f"losses: pml: {name} owns parameters, which neither the optimizer nor a checkpoint would see. {instead}."
