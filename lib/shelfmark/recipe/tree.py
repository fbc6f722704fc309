"""Every option of a run, once: a frozen, typed tree.

A field's description is what `shelfmark config --schema` shows in an editor. Durations carry their unit in the name.
Options of a part stand with the part, in the room's `options.py`; those of a loss with the loss. This file has those of
the run, and puts all together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from shelfmark.config.section import NotNegative, Positive, Section, option
from shelfmark.data.options import AugmentOptions, DataOptions, require_remix_ratio
from shelfmark.data.samplers.options import SamplerName, SamplingOptions
from shelfmark.losses import LossUnion, entry
from shelfmark.models.options import ModelOptions
from shelfmark.optim.options import OptimOptions, ScheduleOptions
from shelfmark.recipe.checks import require_sections_that_fit
from shelfmark.recipe.discovery import DiscoveryOptions

PRECISION_ALIASES = {"O0": "fp32", "O1": "auto", "O2": "auto", "O3": "auto"}
"""NVIDIA apex's levels. All of its mixed modes become torch.amp with the dtype that the device does best."""


class TrainStage(Section):
    from_epoch: Positive = option(..., "first epoch (from 0) of this stage; it lasts until the next one begins")
    freeze: tuple[str, ...] | None = option(None, "what is frozen from here on, as model.freeze; null: what that says")
    classifier: Literal["keep", "restart", "scale"] = option(
        "keep",
        "restart: the classifier begins anew, as in cRT; scale: its weight and bias are fixed and a factor for each"
        " class learns, as in LWS",
    )
    adapt_frozen_bn_statistics: bool = option(
        False, "batch norms of frozen modules go on to normalise by the batch and to learn its statistics, as in MiSLAS"
    )
    sampling: SamplerName | None = option(None, "sampler of this stage; null: what sampling says")
    mixup: float | None = option(None, "augment.mixup in this stage, 0 is off; null: as there", ge=0)
    cutmix: float | None = option(None, "augment.cutmix in this stage, 0 is off; null: as there", ge=0)
    remix: float | None = option(None, "augment.remix in this stage, 0 is off; null: as there", ge=0)
    lr: float | None = option(None, "learning rate of this stage; null: optim.lr", gt=0)
    schedule: ScheduleOptions = option(
        ScheduleOptions(), "shape of the rate over this stage; epochs count from its beginning"
    )

    @model_validator(mode="after")
    def _remix_is_a_ratio(self) -> TrainStage:
        require_remix_ratio(self.remix)
        return self


class Train(Section):
    num_epochs: Positive = option(100, "passes over the training set")
    steps_per_epoch: NotNegative = option(0, "0: as many whole batches as the training set has")
    batch_size: Positive = option(64, "global: split evenly over the processes")
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        BeforeValidator(lambda value: PRECISION_ALIASES.get(value, value) if isinstance(value, str) else value),
    ] = option("auto", "auto: bf16 on a GPU that has it and on a CPU with AMX, else fp32; apex's O0..O3 are accepted")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "auto: a GPU where there is one")
    stages: tuple[TrainStage, ...] = option(
        (),
        "later stages, each with a fresh optimizer and rate; optim.schedule ends where the first begins",
    )
    grad_cache: NotNegative = option(
        0,
        "images per process that go through the backbone at a time, so that a batch of any size fits; costs one more"
        " forward pass, and batch norm in training mode normalises each such part by itself; 0 is off",
    )
    log_every_steps: Positive = option(20, "steps between two lines of metrics.jsonl")
    checkpoint_every_steps: NotNegative = option(0, "steps between two checkpoints within an epoch; 0: epochs only")
    checkpoint_every_epochs: Positive = option(1, "epochs between two checkpoints")
    checkpoint_every_minutes: float = option(10.0, "longest time between two checkpoints, in minutes; 0 is off", ge=0)
    keep_last: Annotated[int, Field(ge=1, le=2)] = option(
        2, "generations of the checkpoint `last` that are kept; the one before it is `.last.previous`"
    )
    max_bad_steps: Positive = option(
        3, "steps in a row without a finite loss and gradient that end the run; each such step is skipped"
    )
    stall_s: float = option(
        60.0, "several processes: seconds without a sign of life after which the one that hangs is named", gt=0
    )
    stall_limit_s: float = option(1800.0, "several processes: seconds without a sign of life that end the run", gt=0)

    @model_validator(mode="after")
    def _stages_are_ordered(self) -> Train:
        epochs = [stage.from_epoch for stage in self.stages]
        if epochs != sorted(set(epochs)) or (epochs and epochs[-1] >= self.num_epochs):
            raise ValueError(
                f"stages begin at epochs {epochs}; give them in rising order, each once and below"
                f" num_epochs={self.num_epochs}"
            )
        return self


class Eval(Section):
    every_epochs: Positive = option(1, "epochs between two evaluations; the last epoch is always evaluated")
    batch_size: Positive = option(256, "per process")
    metric: str = option(
        "mean_class_accuracy",
        "the score that chooses best_model: any name of summary.json; none: nothing is scored in training, and"
        " best_model is the last",
    )
    many: Positive = option(100, "a class with more training images than this is many-shot")
    few: Positive = option(20, "a class with fewer training images than this is few-shot")
    recall_at: tuple[Positive, ...] = option((1, 5, 10), "K of Recall@K")
    retrieval_metric: Literal["cosine", "euclidean", "dot"] = option("cosine", "similarity for the search")


class Predict(Section):
    views: Literal["centre", "flip", "five_crop", "ten_crop"] = option(
        "centre", "views of each test image whose class probabilities are averaged"
    )
    sizes_px: tuple[Positive, ...] = option((), "sides of the square to predict at, averaged; () is input_size_px")


class TauNormOptions(Section):
    start: float = option(0.0, "first tau", ge=0)
    stop: float = option(1.5, "last tau", ge=0)
    step: float = option(0.05, "distance between taus", gt=0)
    bias: Literal["keep", "zero"] = option("zero", "what happens to the classifier's bias when tau > 0 is applied")
    folds: Annotated[int, Field(ge=2)] = option(5, "parts of val: tau is chosen on the others, scored on each")


class Calibrate(Section):
    folds: Annotated[int, Field(ge=2)] = option(5, "parts of val: a method is fitted on the others, scored on each")
    target_prior: Path | None = option(
        None, "JSON list of each class's share or count where the model is used, for pc_softmax; None: all the same"
    )


class Output(Section):
    log_root: Path = option(Path("log"), "run folders are made here")
    tau_root: Path = option(Path("log_tau"), "recalibrated models are written here")


class Recipe(Section):
    """One run."""

    name: str = option("run", "name of the run folder", pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")
    seed: NotNegative = option(0, "every random draw derives from it")
    data: DataOptions = DataOptions()
    augment: AugmentOptions = AugmentOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    losses: tuple[Annotated[LossUnion, Field(discriminator="name")], ...] = option(
        (entry("cross_entropy"),), "losses, each with name, weight and head", min_length=1
    )
    optim: OptimOptions = OptimOptions()
    train: Train = Train()
    eval: Eval = Eval()
    predict: Predict = Predict()
    tau_norm: TauNormOptions = TauNormOptions()
    calibrate: Calibrate = Calibrate()
    discovery: DiscoveryOptions = DiscoveryOptions()
    output: Output = Output()

    def mixing_of(self, stage: int) -> tuple[float, float, float]:
        """mixup, cutmix and remix in a stage; stage 0 is the one before train.stages begin."""
        options = self.train.stages[stage - 1] if stage else self.augment
        chosen = [getattr(options, name) for name in ("mixup", "cutmix", "remix")]
        general = (self.augment.mixup, self.augment.cutmix, self.augment.remix)
        mixup, cutmix, remix = (there if here is None else here for here, there in zip(chosen, general))
        return mixup, cutmix, remix

    @model_validator(mode="after")
    def _folder_is_free(self) -> Recipe:
        if self.name == "findings":
            raise ValueError(f"name={self.name!r} is the folder of the lists of findings; give the run another name")
        return self

    @model_validator(mode="after")
    def _sections_fit(self) -> Recipe:
        require_sections_that_fit(self)
        return self
