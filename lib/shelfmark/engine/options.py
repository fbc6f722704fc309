"""Options of the engine's parts. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from shelfmark.config.section import Section, option

TrackerName = Literal["wandb", "mlflow"]


class EmaOptions(Section):
    """The moving average of the weights (EMA), which is validated and saved as the model."""

    decay: float = option(
        0.0,
        "decay of the exponential moving average (EMA) of the weights: after each step, average = decay *"
        " average + (1 - decay) * weights. 0.999 to 0.9999 are usual. The average is validated and saved as"
        " the model. 0: off",
        ge=0,
        lt=1,
    )
    warmup: bool = option(
        True,
        "whether the decay rises from 0.1, so that a short training is not dominated by its first weights:"
        " after n steps it is the smaller of decay and (1 + n) / (10 + n)",
    )
