"""What a loss is, whatever it is called with. Legend: N batch, D embedding, C classes, J proxies a class, X experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, get_type_hints

from torch import Tensor

from shelfmark.core.contracts import UNLABELLED

HeadOutput = Literal["logits", "vectors", "cosines", "proxies", "logits_and_vectors", "experts"]
"""What a loss consumes, and a head produces.

logits                a classifier's, (N, C). Of the head `experts`: those of every expert, each as rows of their own
vectors               a metric head's, (N, D), of length 1
cosines               of the rows with the classes of a cosine classifier, (N, C), or of a proxy head, (N, C, J)
proxies               a proxy head's vectors (N, D) and its weight (C, J, D)
logits_and_vectors    the logits of one head and the vectors of another
experts               the logits of all experts together, (N, X, C)
"""


class LossFunction(Protocol):
    """A built loss: called with what a head gives for some rows and their labels, it is the loss of these rows alone.

    Of `proxies` it takes vectors, labels and the weight; of `logits_and_vectors` logits, labels and vectors.
    """

    @property
    def over_ranks(self) -> Callable[..., Tensor]:
        """As the call, but the loss of the rows of all processes: 0-dim, the same on each.

        Its gradient keeps the rule of `shelfmark.core.dist`. `step=` is the optimizer's and decides random draws.
        """

    @property
    def divisor(self) -> Callable[..., Tensor]:
        """See `Loss.divisor`."""


class Loss:
    """Base of all losses. A loss is a frozen dataclass, and its own config: see `option`.

    Fields that are no options come from the run where they are called `counts`, (C,) training images of each class,
    `seed` of random draws, or `weight`, (C,) class weights of a `ClassificationLoss`; others are for Python alone.
    """

    consumes: ClassVar[HeadOutput]
    takes_probabilities: ClassVar[bool] = False
    """Whether labels may be probabilities (N, C), as mixup makes them."""
    adds_over_rows: ClassVar[bool] = False
    """Whether the loss is a sum of what each row costs by itself, divided by `divisor`. Such a batch may be taken in
    parts, one after the other (`train.accumulate_steps`)."""
    default_head: ClassVar[str] = ""
    """The head of a config entry that names none; '': the entry must name one."""

    def divisor(self, labels: Tensor, step: int = 0) -> Tensor:
        """What the loss of rows with these labels divides by, 0-dim; those of parts add up to that of the batch.

        It is how many rows have a label. labels: as the loss takes them. Only for `adds_over_rows`.
        """
        counted = labels.sum(1) > 0 if labels.is_floating_point() else labels != UNLABELLED
        return counted.sum()


def option(default: Any, description: str, *, key: str = "", config_default: Any = MISSING) -> Any:
    """A field of a loss that a config can set. default: `...` for none.

    key: its name in a config, where that is another than the field's. config_default: where it is another too.
    """
    metadata = {"description": description, "key": key, "config_default": config_default}
    return field(default=MISSING if default is ... else default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option of a loss. name: of the field. key: in a config."""

    name: str
    key: str
    type: Any
    field: Field[Any]

    def entry_field(self) -> tuple[str, Any, Any]:
        """The field of a config entry, as `dataclasses.make_dataclass` takes it."""
        default = self.field.metadata["config_default"]
        metadata = {"description": self.field.metadata["description"]}
        return (
            self.key,
            self.type,
            field(default=self.field.default if default is MISSING else default, metadata=metadata),
        )


def options_of(loss: type[Loss]) -> list[Option]:
    """The options of a loss, in their order."""
    types = get_type_hints(loss)
    return [
        Option(one.name, one.metadata["key"] or one.name, types[one.name], one)
        for one in fields(loss)  # type: ignore[arg-type]
        if "description" in one.metadata
    ]
