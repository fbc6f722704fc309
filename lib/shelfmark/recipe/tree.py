"""Every option of a run, once: a frozen, typed tree.

A field's description is what `shelfmark config --schema` shows in an editor. Durations carry their unit in the name.
The options of a part stand in its room's `options.py`, those of a loss in the loss's file. This file has the options of
the run, and puts all of them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from shelfmark.config.section import NotNegative, Positive, Section, option
from shelfmark.data.options import BY_WEIGHTS, AugmentOptions, DataOptions, InputSettings, require_remix_ratio
from shelfmark.data.samplers.options import SamplerName, SamplingOptions
from shelfmark.engine.options import EmaOptions, TrackerName
from shelfmark.losses import LossUnion, entry
from shelfmark.models.options import PRETRAINED, ModelOptions
from shelfmark.optim.options import OptimOptions, ScheduleOptions
from shelfmark.recipe.checks import require_sections_that_fit
from shelfmark.recipe.discovery import DiscoveryOptions

PRECISION_ALIASES = {"O0": "fp32", "O1": "auto", "O2": "auto", "O3": "auto"}
"""NVIDIA apex's levels. All of its mixed modes become torch.amp with the dtype that the device does best."""


class TrainStage(Section):
    """What changes from an epoch on."""

    from_epoch: Positive = option(
        ..., "first epoch of this stage. Epochs count from 0. The stage lasts until the next one begins"
    )
    freeze: tuple[str, ...] | None = option(
        None,
        "modules and parameters that are not trained in this stage, as in model.freeze. null: those of model.freeze",
    )
    classifier: Literal["keep", "restart", "scale"] = option(
        "keep",
        "keep: training of the classifier goes on. restart: the classifier starts again from random"
        " weights (cRT). scale: its weight and bias are frozen, and one factor for each class is learned"
        " (LWS)",
    )
    adapt_frozen_bn_statistics: bool = option(
        False,
        "whether batch norms in frozen modules still normalise by the batch and update their running"
        " statistics, as in MiSLAS",
    )
    sampling: SamplerName | None = option(None, "sampler of this stage. null: as sampling.type and sampling.stages say")
    mixup: float | None = option(None, "alpha of mixup in this stage. 0: off. null: augment.mixup", ge=0)
    cutmix: float | None = option(None, "alpha of CutMix in this stage. 0: off. null: augment.cutmix", ge=0)
    remix: float | None = option(None, "kappa of Remix in this stage. 0: off. null: augment.remix", ge=0)
    lr: float | None = option(None, "learning rate of this stage. null: optim.lr", gt=0)
    schedule: ScheduleOptions = option(
        ScheduleOptions(), "how the learning rate changes in this stage. Epochs count from the start of the stage"
    )

    @model_validator(mode="after")
    def _remix_is_a_ratio(self) -> TrainStage:
        require_remix_ratio(self.remix)
        return self


class CacheFeatures(Section):
    """Head first: features of a frozen backbone, computed once."""

    views: NotNegative = option(
        0,
        "head first: number of augmented views of each training image whose features are computed once and"
        " stored. They serve all epochs that freeze the whole backbone (freeze: [backbone]), which then take"
        " seconds. The first epoch trains on the first view, the next one on the second, and after the last"
        " view the first comes again. 0: off",
    )


class Train(Section):
    """Length of the training, batches, precision, checkpoints."""

    num_epochs: Positive = option(100, "epochs of the training")
    steps_per_epoch: NotNegative = option(
        0, "number of steps in an epoch. 0: as many whole batches as the training images fill"
    )
    batch_size: Positive = option(64, "number of images in a batch, over all processes together")
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        BeforeValidator(lambda value: PRECISION_ALIASES.get(value, value) if isinstance(value, str) else value),
    ] = option(
        "auto",
        "floating-point type of the forward and backward passes. auto: bf16 on a GPU that supports it;"
        " on a CPU with AMX or AVX512-BF16 a trial of half a second decides, and the run's checkpoints keep the"
        " choice; otherwise fp32. The names O0 to O3 of NVIDIA apex work too",
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "device of the training. auto: a GPU if there is one, otherwise the CPU"
    )
    stages: tuple[TrainStage, ...] = option(
        (),
        "later stages of the training. Each starts with a fresh optimizer and has its own learning rate."
        " optim.schedule ends where the first stage starts",
    )
    cache_features: CacheFeatures = CacheFeatures()
    grad_cache: NotNegative = option(
        0,
        "GradCache: number of images that each process passes through the backbone at once, so that a"
        " batch of any size fits into memory. It costs a second forward pass, and batch norm normalises"
        " each such part by itself. 0: off",
    )
    accumulate_steps: Positive = option(
        1,
        "gradient accumulation: number of parts in which a batch passes the network, one after the other."
        " Their gradients are added up for one step, so train.batch_size stays the size of the whole batch."
        " For losses that are a sum over images; train.grad_cache works with any loss. 1: off",
    )
    compile: bool = option(
        False,
        "whether the backbone of the training steps is compiled by torch.compile. The first steps then take"
        " up to minutes, and later ones are faster. Evaluation and checkpoints are the same as without",
    )
    ema: EmaOptions = EmaOptions()
    log_every_steps: Positive = option(20, "number of steps between two lines of metrics.jsonl")
    checkpoint_every_steps: NotNegative = option(
        0, "number of steps between two checkpoints within an epoch. 0: only epochs and minutes count"
    )
    checkpoint_every_epochs: Positive = option(1, "number of epochs between two checkpoints")
    checkpoint_every_minutes: float = option(
        10.0, "longest time between two checkpoints, in minutes. 0: no limit", ge=0
    )
    keep_last: Annotated[int, Field(ge=1, le=2)] = option(
        2, "number of generations of the checkpoint `last` that are kept. 2: the one before `last` is `.last.previous`"
    )
    max_bad_steps: Positive = option(
        3, "a step whose loss or gradient is not finite is skipped. This number of skipped steps in a row ends the run"
    )
    stall_s: float = option(
        60.0, "with several processes: seconds without progress after which the log names the process that hangs", gt=0
    )
    stall_limit_s: float = option(
        1800.0, "with several processes: seconds without progress after which the run ends", gt=0
    )

    @model_validator(mode="after")
    def _stages_are_ordered(self) -> Train:
        epochs = [stage.from_epoch for stage in self.stages]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"stages begin at epochs {epochs}; give them in rising order, each once")
        if epochs and epochs[-1] >= self.num_epochs:
            raise ValueError(
                f"a stage begins at epoch {epochs[-1]}, and num_epochs={self.num_epochs} ends before it. Give more"
                " epochs, or leave the stages out by train.stages=[]"
            )
        return self


class Eval(Section):
    """Scores on the validation images, during and after the training."""

    every_epochs: Positive = option(1, "number of epochs between two evaluations. The last epoch is always evaluated")
    batch_size: Positive = option(256, "number of images in an evaluation batch, for each process")
    metric: str = option(
        "mean_class_accuracy",
        "score that chooses best_model: a name in summary.json, such as recall@1. none: no evaluation"
        " during training, and best_model is the last model",
    )
    ties: Literal["first", "last"] = option(
        "first", "which of the epochs with the same best score becomes best_model: the first or the last of them"
    )
    choose_share: Annotated[float, Field(gt=0, le=1)] = option(
        1.0,
        "share of the validation images, drawn by the seed and the same in every class, that choose best_model, and"
        " later a recalibration. The others choose nothing, so that `shelfmark thresholds` can promise something by"
        " them; the scores at the end of a run are of all images",
    )
    many: Positive = option(100, "a class with more training images than this is many-shot")
    few: Positive = option(20, "a class with fewer training images than this is few-shot")
    recall_at: tuple[Positive, ...] = option((1, 5, 10), "the values of K in Recall@K")
    retrieval_metric: Literal["cosine", "euclidean", "dot"] = option(
        "cosine", "similarity of two embeddings in retrieval"
    )


class Predict(Section):
    """Predictions for test images."""

    views: Literal["centre", "flip", "five_crop", "ten_crop"] = option(
        "centre", "views of each test image. The class probabilities of all views are averaged"
    )
    sizes_px: tuple[Positive, ...] = option(
        (), "input sizes in pixels. The class probabilities of all sizes are averaged. []: data.input_size_px alone"
    )


class TauNormOptions(Section):
    """The search for tau, by `shelfmark tau-norm` and `shelfmark calibrate`."""

    start: float = option(0.0, "smallest tau that is tried. The weight of each class is divided by its norm**tau", ge=0)
    stop: float = option(1.5, "largest tau that is tried", ge=0)
    step: float = option(0.05, "difference between two values of tau", gt=0)
    bias: Literal["keep", "zero"] = option(
        "zero", "bias of the classifier if tau is above 0. keep: as it is. zero: no bias"
    )
    folds: Annotated[int, Field(ge=2)] = option(
        5,
        "number of folds of cross-validation on the validation images: tau is chosen on all folds but one"
        " and scored on that one",
    )


class Calibrate(Section):
    """`shelfmark calibrate`: how its methods are compared."""

    folds: Annotated[int, Field(ge=2)] = option(
        5,
        "number of folds of cross-validation on the validation images: a method is fitted on all folds"
        " but one and scored on that one",
    )
    target_prior: Path | None = option(
        None,
        "for the method pc_softmax: JSON file with a list, which has for each class its share or its"
        " number of images where the model will be used. null: all classes are equally frequent",
    )


class Output(Section):
    """Where results are written."""

    log_root: Path = option(Path("log"), "folder for the folders of runs")
    tau_root: Path = option(Path("log_tau"), "folder for recalibrated models")
    trackers: tuple[TrackerName, ...] = option(
        (),
        "programs that get the numbers of a training too, beside metrics.jsonl and TensorBoard. wandb: Weights &"
        " Biases, offline, in the run's folder. mlflow: MLflow, as files in log_root/mlruns. Nothing is sent anywhere",
    )


class Recipe(Section):
    """One run."""

    name: str = option(
        "run", "name of the run, and of its folder in output.log_root", pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"
    )
    seed: NotNegative = option(0, "seed of all random numbers")
    data: DataOptions = DataOptions()
    augment: AugmentOptions = AugmentOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    losses: tuple[Annotated[LossUnion, Field(discriminator="name")], ...] = option(
        (entry("cross_entropy"),),
        "the losses. Each has a name, a head and a weight. Their weighted sum is minimised",
        min_length=1,
    )
    optim: OptimOptions = OptimOptions()
    train: Train = Train()
    eval: Eval = Eval()
    predict: Predict = Predict()
    tau_norm: TauNormOptions = TauNormOptions()
    calibrate: Calibrate = Calibrate()
    discovery: DiscoveryOptions = DiscoveryOptions()
    output: Output = Output()

    @classmethod
    def completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """With published weights, the input is by default the one that they were trained with."""
        model, data = values.get("model"), values.get("data", {})
        has_published = isinstance(model, dict) and model.get("weights") == PRETRAINED
        if not has_published or not isinstance(data, dict):
            return values
        return {**values, "data": {**dict.fromkeys(InputSettings._fields, BY_WEIGHTS), **data}}

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
