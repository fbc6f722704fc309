"""Every option of a run, once: a frozen, typed tree.

A field's description is what `shelfmark config --schema` shows in an editor. Durations carry their unit
in the name. Loss options stand with their losses (`shelfmark.losses`), everything else stands here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from shelfmark.config.section import Fraction, NotNegative, Positive, Section
from shelfmark.config.section import option as _option
from shelfmark.data.annotations import MAX_CLASSES
from shelfmark.data.images import PILLOW_MAX_PIXELS
from shelfmark.losses import CrossEntropyConfig, LossUnion, Takes
from shelfmark.recipe.discovery import DiscoveryOptions

SamplerName = Literal["instance", "class_balanced", "power", "progressive", "reverse", "class_aware", "pk", "weighted"]


class Lists(Section):
    """Corrections of the training annotations; `shelfmark clean` writes lists to start from."""

    keep: tuple[Path, ...] = _option((), "files of image ids, one a line; if any are given, all other images go")
    drop: tuple[Path, ...] = _option((), "files of image ids, one a line, that go whatever other lists say")
    relabel: tuple[Path, ...] = _option((), "CSV files `image_id,label` of corrected labels; the later line holds")


class Data(Section):
    generated: Literal["", "shop"] = _option(
        "", "`shop`: make the generated catalogue in data.root, if train_json lies there and is missing"
    )
    root: Path = _option(Path("dataset/shop"), "folder that the annotations' fpath is relative to")
    test_root: Path | None = _option(None, "folder of the test images; data.root where it is not given")
    extra_roots: tuple[Path, ...] = _option((), "further folders that an absolute fpath, or a link, may lead into")
    train_json: Path | None = _option(None, "training annotations")
    more_train_json: tuple[Path, ...] = _option(
        (), "further training annotations of the same classes; what of them is in val_json too is partly held out"
    )
    val_json: Path | None = _option(
        None, "validation annotations of the training classes; not needed with retrieval_json and an eval.metric of it"
    )
    test_json: Path | None = _option(None, "test set: {'images': [{'image_id': ...}]}")
    retrieval_json: Path | None = _option(
        None,
        "pictures to search, of any classes: those with is_query among those with is_gallery, or, without these, each"
        " among all others; null: val in itself",
    )
    lists: Lists = Lists()
    num_classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)] = _option(
        0, "number of classes; 0 reads it from the training annotations"
    )
    input_size_px: Positive = _option(224, "side of the square that the network sees")
    eval_crop: Fraction = _option(0.875, "evaluation resizes the shorter side to int(input_size_px / eval_crop)", gt=0)
    eval_resize_px: tuple[Positive, ...] | None = _option(
        None, "in place of eval_crop: [] is no resize, [256] the shorter side, [256, 256] both", max_length=2
    )
    interpolation: Literal["bilinear", "bicubic"] = _option("bilinear", "of every resize, in training and evaluation")
    num_workers: NotNegative = _option(1, "loader processes per rank; 0 reads in the training process")
    on_bad_image: Literal["error", "skip"] = _option(
        "error", "an unreadable image ends the run, or is counted and left"
    )
    max_image_bytes: Positive = _option(100_000_000, "an image file with more bytes counts as unreadable")
    max_image_pixels: Annotated[int, Field(ge=1, le=PILLOW_MAX_PIXELS)] = _option(
        100_000_000,
        "an image with more pixels counts as unreadable; a JPEG is read at 1/2, 1/4 or 1/8 of its sides instead",
    )
    mean: tuple[float, float, float] = _option((0.485, 0.456, 0.406), "RGB mean, for pixels in 0..1")
    std: tuple[float, float, float] = _option((0.229, 0.224, 0.225), "RGB standard deviation, for pixels in 0..1")

    @field_validator("train_json", "val_json", "test_json", "retrieval_json")
    @classmethod
    def _no_file(cls, file: Path | None) -> Path | None:
        # Of `data.val_json=`, with nothing behind it. As a path that is the folder which the command runs in.
        return None if file == Path() else file


class RandAugment(Section):
    num_ops: NotNegative = _option(0, "operations per image; 0 is off")
    magnitude: Annotated[int, Field(ge=0, le=30)] = _option(9, "strength, 0..30")


class SizeStage(Section):
    from_epoch: NotNegative = _option(..., "first epoch (from 0) at this size")
    size_px: Positive = _option(..., "side of the square that training images are cropped to")


class Augment(Section):
    views: Positive = _option(
        1,
        "how often each drawn image stands in the batch, each time augmented differently: train.batch_size / views"
        " images are distinct, and an epoch, as long as a pass over all images, has so many times the steps",
    )
    sizes: tuple[SizeStage, ...] = _option(
        (), "training sizes by epoch, such as 112, 160, 224; before the first, data.input_size_px"
    )
    mixup: float = _option(0.0, "alpha of mixup's Beta(alpha, alpha); 0 is off", ge=0)
    cutmix: float = _option(0.0, "alpha of CutMix's Beta(alpha, alpha); 0 is off. With mixup a step draws one", ge=0)
    remix: float = _option(0.0, "kappa of Remix: a class so many times rarer takes the whole label; 0 is off", ge=0)
    resize_px: tuple[Positive, ...] = _option(
        (), "before the crop: [] is no resize, [256] the shorter side, [256, 256] both", max_length=2
    )
    crop_scale: tuple[float, float] = _option((0.08, 1.0), "area of the random resized crop, as a part of the image")
    crop_ratio: tuple[float, float] = _option((0.75, 4 / 3), "aspect ratio (width / height) of the random resized crop")
    crop_padding_px: NotNegative = _option(
        0, "black pixels around the image before a random crop, in place of the random resized one; 0 is off"
    )
    flip: Fraction = _option(0.5, "probability of a horizontal flip")
    color_jitter: tuple[float, float, float, float] = _option(
        (0.0, 0.0, 0.0, 0.0), "strengths of brightness, contrast, saturation and hue"
    )
    color_jitter_probability: Fraction = _option(1.0, "how often an image is jittered at all")
    randaugment: RandAugment = RandAugment()
    erasing: Fraction = _option(0.0, "probability of random erasing")
    albumentations: Path | None = _option(
        None, "a pipeline saved with albumentations.save(); replaces resize, crop, flip, jitter and RandAugment"
    )

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Augment:
        epochs = [stage.from_epoch for stage in self.sizes]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"sizes begin at epochs {epochs}; give them in rising order, each once")
        if self.remix and not (self.mixup or self.cutmix):
            raise ValueError(f"remix={self.remix} shifts the labels of mixed images; set mixup or cutmix too")
        _require_remix_ratio(self.remix)
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}={[low, high]} must be two numbers with 0 < low <= high")
        if self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale={list(self.crop_scale)} must not exceed 1, the whole image")
        if not all(0 <= strength <= (0.5 if index == 3 else 10) for index, strength in enumerate(self.color_jitter)):
            raise ValueError(f"color_jitter={list(self.color_jitter)} must not be negative, and hue at most 0.5")
        return self


class SamplingStage(Section):
    from_epoch: NotNegative = _option(..., "first epoch (from 0) that uses this sampler")
    type: SamplerName = _option(..., "sampler of this stage")


class Sampling(Section):
    type: SamplerName = _option(
        "instance", "how a batch's images are drawn; weighted: as often as their weight in the annotations says"
    )
    images_per_class: Positive = _option(4, "K of pk (batch_size / K classes are in a batch) and of class_aware")
    visits: Literal["equal", "by_images"] = _option(
        "equal", "how often pk meets a class: each as often, or in proportion to its training images"
    )
    power: float = _option(0.5, "of the power sampler: a class is drawn by count**power; 0.5 is square-root sampling")
    stages: tuple[SamplingStage, ...] = _option((), "switches of the sampler: the last stage that has begun rules")

    @model_validator(mode="after")
    def _stages_are_ordered(self) -> Sampling:
        epochs = [stage.from_epoch for stage in self.stages]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"stages begin at epochs {epochs}; give them in rising order, each once")
        return self


class Classifier(Section):
    type: Literal["linear", "cosine"] = _option("linear", "linear: w.x + b; cosine: scale * cos(w, x)")
    bias: bool = _option(True, "whether the linear classifier has a bias")
    scale: float = _option(16.0, "the cosine classifier's factor; without one its loss cannot fall", gt=0)
    init: Literal["random", "class_means"] = _option(
        "random", "first weights; class_means: of a cosine classifier on a pretrained backbone, a pass over the images"
    )

    @model_validator(mode="after")
    def _only_directions_begin_with_means(self) -> Classifier:
        if self.init == "class_means" and self.type != "cosine":
            raise ValueError(f"init=class_means gives each class a direction; type={self.type} needs type: cosine")
        return self


class Head(Section):
    type: Literal["metric", "proxy"] = _option(
        "metric", "metric: vectors of length 1; proxy: those, and learned points of each class"
    )
    dim: NotNegative = _option(0, "dimension of a linear projection before the norm; 0 takes the embedding itself")
    hidden_dim: NotNegative = _option(0, "width of a layer with ReLU before the projection; 0 is none")
    centers_per_class: Positive = _option(1, "of a proxy head: learned points for each class")

    @model_validator(mode="after")
    def _only_proxies_have_centers(self) -> Head:
        if self.type != "proxy" and self.centers_per_class != 1:
            raise ValueError(f"centers_per_class={self.centers_per_class} is an option of proxy heads; add type: proxy")
        return self

    @model_validator(mode="after")
    def _a_hidden_layer_needs_one_behind_it(self) -> Head:
        if self.hidden_dim and not self.dim:
            raise ValueError(f"hidden_dim={self.hidden_dim} stands before a projection; set dim too, such as dim: 128")
        return self


class Pooling(Section):
    name: Literal["backbone", "avg", "max", "gem"] = _option(
        "backbone", "how the backbone's last map becomes its features; backbone: its own way"
    )
    p: float = _option(3.0, "gem: the power; 1 is the average, and the larger, the nearer the maximum", gt=0)
    trainable: bool = _option(False, "gem: p begins there and learns")

    @model_validator(mode="after")
    def _only_gem_learns(self) -> Pooling:
        if self.trainable and self.name != "gem":
            raise ValueError(f"trainable=true is an option of gem; name={self.name} has nothing that learns")
        return self


class Adapters(Section):
    rank: NotNegative = _option(0, "dimensions of each adapter; 0 is none. The rest of the backbone is frozen")
    alpha: float = _option(16.0, "alpha / rank is the factor of what the adapters add", gt=0)
    modules: tuple[str, ...] = _option(
        ("qkv", "fc1", "fc2"), "linear layers that get an adapter, by the end of their name", min_length=1
    )


class Model(Section):
    backbone: str = _option("resnet50", "a timm model, resnet32_cifar, or a 2020 name (res50, resnest50 ...)")
    weights: str = _option("", "'' starts from the seed; 'pretrained' finds ImageNet weights; or a file")
    backbone_options: dict[str, bool | int | float | str | tuple[int, ...]] = _option(
        {}, "arguments of the timm model: {drop_path_rate: 0.1}, of a transformer {global_pool: avg} ..."
    )
    adapters: Adapters = Adapters()
    last_stride: Literal[1, 2] = _option(2, "of a ResNet's last stage; 1 gives a map of twice the height and width")
    pooling: Pooling = Pooling()
    embedding_dim: NotNegative = _option(0, "width of the embedding layer; 0 takes the backbone's features as they are")
    neck: Literal["none", "bn"] = _option(
        "none", "bn: a batch norm without shift behind the embedding layer; the embedding is what comes out of it"
    )
    experts: Positive = _option(
        1, "parts that share the backbone's early stages, each with logits of its own, which are averaged (RIDE, SADE)"
    )
    expert_stages: Positive = _option(2, "last stages of the backbone that each of several experts has of its own")
    classifier: Classifier = Classifier()
    heads: dict[str, Head] = _option({}, "metric and proxy heads on the embedding, by name")
    freeze: tuple[str, ...] = _option(
        (),
        "names of modules whose parameters and BN statistics stay, as `backbone`, and of parameters that stay, as"
        " `backbone.cls_token`",
    )
    freeze_bn: bool = _option(False, "keep all batch-norm statistics but the neck's; scale and shift still learn")
    freeze_bn_affine: bool = _option(False, "with freeze_bn: scale and shift of the backbone's batch norms stay too")
    sync_bn: bool = _option(
        False, "on several GPUs: batch norm normalises by the whole batch, not by each process's part of it"
    )
    channels_last: bool = _option(False, "memory format; speeds ResNet up, slows ResNeSt down")

    @model_validator(mode="after")
    def _classifier_is_not_a_head(self) -> Model:
        if "classifier" in self.heads:
            raise ValueError("heads: `classifier` is the classifier's own name; call the head something else")
        return self

    @model_validator(mode="after")
    def _frozen_scales_have_frozen_statistics(self) -> Model:
        if self.freeze_bn_affine and not self.freeze_bn:
            raise ValueError("freeze_bn_affine=true keeps scale and shift where freeze_bn=true keeps the statistics")
        return self

    @model_validator(mode="after")
    def _experts_fit(self) -> Model:
        if self.experts > 1 and self.classifier.type == "cosine":
            raise ValueError(
                f"experts={self.experts} share one linear classifier; set classifier.type: linear, or experts: 1"
            )
        for head in self.expert_heads:
            if head in self.heads:
                raise ValueError(f"heads: `{head}` is the name of experts' logits; call the head something else")
        return self

    @property
    def expert_heads(self) -> tuple[str, ...]:
        """The heads of the experts' logits: all together, then one by one; none where there is one expert."""
        numbers = range(1, self.experts + 1) if self.experts > 1 else ()
        return ("experts", *(f"expert_{number}" for number in numbers)) if numbers else ()

    def gives(self, head: str) -> tuple[Takes, ...]:
        """What a loss may take from this head."""
        if head in self.expert_heads:
            return ("logits", "experts") if head == "experts" else ("logits",)
        if head != "classifier":
            return ("cosines", "proxies") if self.heads[head].type == "proxy" else ("vectors",)
        return ("logits", "cosines") if self.classifier.type == "cosine" else ("logits",)


class Schedule(Section):
    name: Literal["multistep", "cosine", "constant"] = _option("cosine", "shape of the learning rate after warm-up")
    milestones_epochs: tuple[float, ...] = _option((), "multistep: where the rate is multiplied by gamma")
    gamma: float | tuple[float, ...] = _option(0.1, "multistep: the factor, or one factor for each milestone")
    final_factor: Fraction = _option(0.0, "cosine: the last rate, as a part of optim.lr")
    warmup_epochs: float = _option(0.0, "linear rise from warmup_factor to 1", ge=0)
    warmup_steps: NotNegative = _option(0, "the same in steps; set one of the two")
    warmup_factor: Fraction = _option(0.01, "first rate of the warm-up, as a part of optim.lr")
    per_epoch: bool = _option(False, "cosine: one rate for each epoch after the warm-up, the last in the last one")

    @model_validator(mode="after")
    def _one_length_and_one_shape(self) -> Schedule:
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} and warmup_epochs={self.warmup_epochs:g} both say how long the"
                " warm-up lasts; set one of them to 0"
            )
        if self.per_epoch and self.name != "cosine":
            raise ValueError(f"per_epoch=true is an option of cosine; name={self.name} has no rate for each step")
        return self


class Optim(Section):
    name: Literal["sgd", "adam", "adamw"] = _option("sgd", "optimizer")
    lr: float = _option(0.1, "learning rate at the global batch size; no hidden scaling", gt=0)
    momentum: float = _option(0.9, "sgd", ge=0, lt=1)
    nesterov: bool = _option(False, "sgd")
    betas: tuple[float, float] = _option((0.9, 0.999), "adam and adamw")
    weight_decay: float = _option(1e-4, "on every parameter that it reaches (see decay_norm_and_bias)", ge=0)
    decay_norm_and_bias: bool = _option(False, "whether weight decay reaches norm layers and biases too")
    head_lr_factor: float = _option(1.0, "factor on lr for everything but the backbone", gt=0)
    layer_decay: float = _option(
        1.0, "each layer of the backbone learns so many times as fast as the one above it; usual is 0.75", gt=0, le=1
    )
    clip_norm: float = _option(0.0, "largest L2 norm of the whole gradient; 0 is off", ge=0)
    schedule: Schedule = Schedule()


def _require_remix_ratio(remix: float | None) -> None:
    if remix is not None and 0 < remix < 1:
        raise ValueError(f"remix={remix} is how many times rarer a class must be: 1 or above, usual is 3")


PRECISION_ALIASES = {"O0": "fp32", "O1": "auto", "O2": "auto", "O3": "auto"}
"""NVIDIA apex's levels. All of its mixed modes become torch.amp with the dtype that the device does best."""


class TrainStage(Section):
    from_epoch: Positive = _option(..., "first epoch (from 0) of this stage; it lasts until the next one begins")
    freeze: tuple[str, ...] | None = _option(None, "what is frozen from here on, as model.freeze; null: what that says")
    classifier: Literal["keep", "restart", "scale"] = _option(
        "keep",
        "restart: the classifier begins anew, as in cRT; scale: its weight and bias are fixed and a factor for each"
        " class learns, as in LWS",
    )
    update_batch_norm: bool = _option(
        False, "batch norms of frozen modules go on to normalise by the batch and to learn its statistics, as in MiSLAS"
    )
    sampling: SamplerName | None = _option(None, "sampler of this stage; null: what sampling says")
    mixup: float | None = _option(None, "augment.mixup in this stage, 0 is off; null: as there", ge=0)
    cutmix: float | None = _option(None, "augment.cutmix in this stage, 0 is off; null: as there", ge=0)
    remix: float | None = _option(None, "augment.remix in this stage, 0 is off; null: as there", ge=0)
    lr: float | None = _option(None, "learning rate of this stage; null: optim.lr", gt=0)
    schedule: Schedule = _option(Schedule(), "shape of the rate over this stage; epochs count from its beginning")

    @model_validator(mode="after")
    def _remix_is_a_ratio(self) -> TrainStage:
        _require_remix_ratio(self.remix)
        return self


class Train(Section):
    num_epochs: Positive = _option(100, "passes over the training set")
    steps_per_epoch: NotNegative = _option(0, "0: as many whole batches as the training set has")
    batch_size: Positive = _option(64, "global: split evenly over the processes")
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        BeforeValidator(lambda value: PRECISION_ALIASES.get(value, value) if isinstance(value, str) else value),
    ] = _option("auto", "auto: bf16 on a GPU that has it and on a CPU with AMX, else fp32; apex's O0..O3 are accepted")
    device: Literal["auto", "cpu", "cuda"] = _option("auto", "auto: a GPU where there is one")
    stages: tuple[TrainStage, ...] = _option(
        (),
        "later stages, each with a fresh optimizer and rate; optim.schedule ends where the first begins",
    )
    grad_cache: NotNegative = _option(
        0,
        "images per process that go through the backbone at a time, so that a batch of any size fits; costs one more"
        " forward pass, and batch norm in training mode normalises each such part by itself; 0 is off",
    )
    log_every_steps: Positive = _option(20, "steps between two lines of metrics.jsonl")
    checkpoint_every_steps: NotNegative = _option(0, "steps between two checkpoints within an epoch; 0: epochs only")
    checkpoint_every_epochs: Positive = _option(1, "epochs between two checkpoints")
    checkpoint_every_minutes: float = _option(10.0, "longest time between two checkpoints, in minutes; 0 is off", ge=0)
    keep_last: Annotated[int, Field(ge=1, le=2)] = _option(
        2, "generations of the checkpoint `last` that are kept; the one before it is `.last.previous`"
    )
    max_bad_steps: Positive = _option(
        3, "steps in a row without a finite loss and gradient that end the run; each such step is skipped"
    )
    stall_s: float = _option(
        60.0, "several processes: seconds without a sign of life after which the one that hangs is named", gt=0
    )
    stall_limit_s: float = _option(1800.0, "several processes: seconds without a sign of life that end the run", gt=0)

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
    every_epochs: Positive = _option(1, "epochs between two evaluations; the last epoch is always evaluated")
    batch_size: Positive = _option(256, "per process")
    metric: str = _option(
        "mean_class_accuracy",
        "the score that chooses best_model: any name of summary.json; none: nothing is scored in training, and"
        " best_model is the last",
    )
    many: Positive = _option(100, "a class with more training images than this is many-shot")
    few: Positive = _option(20, "a class with fewer training images than this is few-shot")
    recall_at: tuple[Positive, ...] = _option((1, 5, 10), "K of Recall@K")
    retrieval_metric: Literal["cosine", "euclidean", "dot"] = _option("cosine", "similarity for the search")


class Predict(Section):
    views: Literal["centre", "flip", "five_crop", "ten_crop"] = _option(
        "centre", "views of each test image whose class probabilities are averaged"
    )
    sizes_px: tuple[Positive, ...] = _option((), "sides of the square to predict at, averaged; () is input_size_px")


class TauNorm(Section):
    start: float = _option(0.0, "first tau", ge=0)
    stop: float = _option(1.5, "last tau", ge=0)
    step: float = _option(0.05, "distance between taus", gt=0)
    bias: Literal["keep", "zero"] = _option("zero", "what happens to the classifier's bias when tau > 0 is applied")
    folds: Annotated[int, Field(ge=2)] = _option(5, "parts of val: tau is chosen on the others, scored on each")


class Calibrate(Section):
    folds: Annotated[int, Field(ge=2)] = _option(5, "parts of val: a method is fitted on the others, scored on each")
    target_prior: Path | None = _option(
        None, "JSON list of each class's share or count where the model is used, for pc_softmax; None: all the same"
    )


class Output(Section):
    log_root: Path = _option(Path("log"), "run folders are made here")
    tau_root: Path = _option(Path("log_tau"), "recalibrated models are written here")


class Recipe(Section):
    """One run."""

    name: str = _option("run", "name of the run folder", pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")
    seed: NotNegative = _option(0, "every random draw derives from it")
    data: Data = Data()
    augment: Augment = Augment()
    sampling: Sampling = Sampling()
    model: Model = Model()
    losses: tuple[Annotated[LossUnion, Field(discriminator="name")], ...] = _option(
        (CrossEntropyConfig(),), "losses, each with name, weight and head", min_length=1
    )
    optim: Optim = Optim()
    train: Train = Train()
    eval: Eval = Eval()
    predict: Predict = Predict()
    tau_norm: TauNorm = TauNorm()
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
    def _stages_fit(self) -> Recipe:
        for index, stage in enumerate(self.train.stages):
            place = f"train.stages.{index}"
            if stage.classifier == "scale":
                self._require_something_to_scale(place, stage)
            if stage.update_batch_norm and self.model.freeze_bn:
                raise ValueError(
                    f"{place}.update_batch_norm=true learns the statistics that model.freeze_bn=true keeps; leave one"
                    " out"
                )
            if stage.remix and not any(self.mixing_of(index + 1)[:2]):
                raise ValueError(
                    f"{place}.remix={stage.remix} shifts the labels of mixed images; set mixup or cutmix too"
                )
        return self

    def _require_something_to_scale(self, place: str, stage: TrainStage) -> None:
        if self.model.classifier.type == "cosine":
            raise ValueError(
                f"{place}.classifier='scale' gives the classes of a linear classifier factors; the logits of a cosine"
                " one are cosines, which losses rely on. Take restart, or model.classifier.type=linear"
            )
        if "classifier" in (self.model.freeze if stage.freeze is None else stage.freeze):
            raise ValueError(
                f"{place}.classifier='scale' learns factors of the classifier, which freeze keeps as it is; take"
                " `classifier` out of freeze: its weight and bias stay anyway"
            )
        if all(loss.head in self.model.heads for loss in self.losses):
            raise ValueError(f"{place}.classifier='scale' learns from a loss of head classifier, and there is none")

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        heads = {"classifier", *self.model.expert_heads, *self.model.heads}
        wanted = [
            (f"losses.{index}.{option}", loss.name, head, takes)
            for index, loss in enumerate(self.losses)
            for option, (head, takes) in loss.wants().items()
        ]
        for option, name, head, takes in wanted:
            if head not in heads:
                raise ValueError(
                    f"{option}={head!r} is not a head of the model; there are:"
                    f" {', '.join(sorted(heads))}. {_line_that_adds(head, takes, self.model.experts)}"
                )
            gives = self.model.gives(head)
            if takes not in gives:
                line = _HEADS_THAT_GIVE[takes].replace("head:", f"{option.rpartition('.')[2]}:")
                raise ValueError(f"{option}={head!r} gives {' and '.join(gives)}, but {name} takes {takes}. {line}")
        return self

    @model_validator(mode="after")
    def _every_expert_learns(self) -> Recipe:
        experts = self.model.expert_heads
        used = {head for loss in self.losses for head, _ in loss.wants().values()}
        taught = {loss.head for loss in self.losses if loss.takes != "experts"}
        missing = [head for head in experts[1:] if head not in taught]
        if used & {*experts} and missing and not taught & {"classifier", "experts"}:
            raise ValueError(
                f"losses: none teaches {' or '.join(missing)} the classes; add one, such as"
                f" {{name: cross_entropy, head: {missing[0] if taught else 'experts'}}}"
            )
        if any(loss.takes == "logits_and_vectors" and loss.head == "experts" for loss in self.losses):
            raise ValueError("losses: one that compares vectors too takes one expert's logits; write head: expert_1")
        return self

    @model_validator(mode="after")
    def _views_fill_the_batch(self) -> Recipe:
        views, batch_size = self.augment.views, self.train.batch_size
        if batch_size % views:
            lower = batch_size // views * views
            fitting = f"{lower} or {lower + views}" if lower else f"{views}"
            raise ValueError(
                f"train.batch_size={batch_size} cannot be filled with augment.views={views} of each image;"
                f" take a batch of {fitting}"
            )
        return self


def _line_that_adds(head: str, takes: Takes, num_experts: int) -> str:
    if re.fullmatch(r"experts|expert_\d+", head):
        if num_experts > 1:
            return f"Experts are numbered from 1 to model.experts, which is {num_experts}"
        return "Add it with model.experts: 3"
    return f"Add it with model.heads: {{{head}: {'{type: proxy}' if takes in ('cosines', 'proxies') else '{}'}}}"


_HEADS_THAT_GIVE: dict[Takes, str] = {
    "logits": "Write head: classifier.",
    "vectors": "Write head: rank, with model.heads: {rank: {dim: 128}}.",
    "cosines": "Write head: proxies, with model.heads: {proxies: {type: proxy, dim: 128}}, or head: classifier, with"
    " model.classifier.type: cosine.",
    "proxies": "Write head: proxies, with model.heads: {proxies: {type: proxy, dim: 128}}.",
    "experts": "Write head: experts, with model.experts: 3.",
}
