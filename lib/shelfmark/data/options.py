"""Options of the data: where they lie, and how a picture becomes the network's input, in training and in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from shelfmark.config.section import Fraction, NotNegative, Positive, Section, option
from shelfmark.core.errors import UserError
from shelfmark.data.limits import MAX_BYTES, MAX_CLASSES, MAX_PIXELS, PILLOW_MAX_PIXELS
from shelfmark.data.source_words import FILES, require_source

BY_WEIGHTS = "backbone"
"""In place of a value: that with which the weights were trained from which the run begins."""


class InputSettings(NamedTuple):
    """Options of `data` that belong to the weights: with other values, trained weights see other pictures."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    eval_crop: float


class Lists(Section):
    """Corrections of the training annotations. `shelfmark clean` writes lists to start from."""

    keep: tuple[Path, ...] = option(
        (), "files of image ids, one id a line. If any file is given, only these images are trained on"
    )
    drop: tuple[Path, ...] = option(
        (), "files of image ids, one id a line. These images are left out, even if another list keeps them"
    )
    relabel: tuple[Path, ...] = option(
        (),
        "CSV files with lines `image_id,label`: corrected labels. If an image has several lines, the last one counts",
    )


class DataOptions(Section):
    """Annotations, images, and how an image becomes the network's input."""

    generated: Literal["", "shop"] = option(
        "",
        "shop: if train_json is data.root/train.json and does not exist, the generated shop (a catalogue"
        " of drawn products) is written to data.root first. '': nothing is generated",
    )
    root: Path = option(
        Path("dataset/shop"),
        "folder of the images. The annotations give the path of each image relative to this folder",
    )
    test_root: Path | None = option(None, "folder of the test images. null: data.root")
    extra_roots: tuple[Path, ...] = option(
        (),
        "more folders that image files may lie in. An image outside of data.root, by an absolute path or"
        " by a link, must lie in one of them",
    )
    source: str = option(
        FILES,
        "where the bytes of training and validation images are read. files: in their own files. packed:DIR: in a packed"
        " copy of smaller images, which `shelfmark shrink` makes. lance://DIR or lance://s3://BUCKET/...: in a Lance"
        " dataset, which `shelfmark to-lance` writes. A command over a trained model reads files unless"
        " this option is typed with it",
    )
    train_json: Path | None = option(None, "annotations of the training images")
    more_train_json: tuple[Path, ...] = option(
        (),
        "more training annotations, with the same classes as train_json. If they contain validation"
        " images, a part of those images is kept out of the training, and the validation scores are taken"
        " on that part alone",
    )
    val_json: Path | None = option(
        None,
        "annotations of the validation images. Their classes are the training classes. Not needed if"
        " retrieval_json is given and eval.metric is a retrieval score, such as recall@1",
    )
    test_json: Path | None = option(None, "annotations of the test images: {'images': [{'image_id': ...}]}")
    retrieval_json: Path | None = option(
        None,
        "annotations of the images for retrieval scores, of any classes. Images with is_query are the"
        " queries, images with is_gallery the gallery. Without these keys each image is a query, and all"
        " other images are its gallery. null: the validation images are used, each as a query among all"
        " others",
    )
    lists: Lists = Lists()
    open_set_classes: Annotated[float, Field(ge=0, le=0.5)] = option(
        0.0,
        "share of the classes that is kept out of training and validation, so that `shelfmark thresholds` can learn on"
        " them what a product never seen looks like. Whole groups are drawn by the seed, from the `groups` of"
        " train_json; without groups single classes. 0: all classes are trained",
    )
    num_classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)] = option(
        0, "number of classes. 0: the number in the training annotations"
    )
    input_size_px: Positive = option(224, "height and width of the network's input, in pixels")
    eval_crop: Annotated[float, Field(gt=0, le=1)] | Literal["backbone"] = option(
        0.875,
        "in evaluation the shorter side of an image is resized to int(input_size_px / eval_crop); then a"
        " square of input_size_px is cut out of the centre. backbone: as for mean",
    )
    eval_resize_px: tuple[Positive, ...] | None = option(
        None,
        "resize in evaluation, in place of eval_crop. null: by eval_crop. []: no resize. [256]: the"
        " shorter side becomes 256. [256, 256]: height and width become 256",
        max_length=2,
    )
    interpolation: Literal["bilinear", "bicubic", "backbone"] = option(
        "bilinear", "interpolation of every resize, in training and in evaluation. backbone: as for mean"
    )
    num_workers: NotNegative = option(
        1, "worker processes that load images, for each training process. 0: the training process loads them"
    )
    pipeline: Literal[1, 2] = option(
        1,
        "version of how a training image is read. 1: it is decoded whole, and normalised by the worker. 2: the crop is"
        " drawn first, a JPEG is decoded at 1/2, 1/4 or 1/8 where the crop stays as large as the input, and pixels of"
        " 8 bits go to the device, which normalises them: less time and memory. The draws are the same. In"
        " evaluation, index and export nothing changes",
    )
    color_jitter_on: Literal["workers", "device"] = option(
        "workers",
        "what computes augment.color_jitter, with the same draws: the worker processes, or, with pipeline=2, the device"
        " of the training, a batch at a time",
    )
    on_bad_image: Literal["error", "skip"] = option(
        "error",
        "what happens if an image cannot be read. error: the run ends. skip: the image is left out, counted and listed",
    )
    max_bad_images: Fraction = option(
        0.01,
        "share of unreadable images, with on_bad_image=skip, above which the run ends. 10 images are always allowed,"
        " and all images never",
    )
    check_images: Literal["auto", "always", "never"] = option(
        "auto",
        "whether every training and validation image is decoded before the first step, so that all unreadable ones are"
        " found at once. Images that were found readable are remembered by path, size and time. auto: as"
        " always, unless more than 20,000 images would have to be decoded",
    )
    max_image_bytes: Positive = option(MAX_BYTES, "an image file with more bytes than this counts as unreadable")
    max_image_pixels: Annotated[int, Field(ge=1, le=PILLOW_MAX_PIXELS)] = option(
        MAX_PIXELS,
        "an image with more pixels than this counts as unreadable. A larger JPEG is decoded at 1/2, 1/4"
        " or 1/8 of its width and height, if that is small enough",
    )
    color_profiles: Literal["ignore", "apply"] = option(
        "ignore",
        "what happens to the colour profile (ICC) of an image, in training, evaluation, index, export and service."
        " ignore: its numbers are taken as they are. apply: its colours become those of sRGB, as a browser shows"
        " them. An image without a profile, or with one of sRGB, is the same either way",
    )
    box_margin: Annotated[float, Field(ge=0, le=2)] = option(
        0.0,
        "share of a box's width and height that is cut out with it on each side, where an annotation has a bbox. 0: the"
        " box alone. The surroundings end at the edge of the image",
    )
    mean: tuple[float, float, float] | Literal["backbone"] = option(
        (0.485, 0.456, 0.406),
        "mean of each RGB channel. It is subtracted from the pixels, which are in 0..1. backbone: the value with which"
        " the published weights of the backbone were trained; this is the default with model.weights=pretrained."
        " Checkpoint and config.yaml of the run have the number",
    )
    std: tuple[float, float, float] | Literal["backbone"] = option(
        (0.229, 0.224, 0.225),
        "standard deviation of each RGB channel. The pixels, in 0..1, are divided by it after the mean is subtracted."
        " backbone: as for mean",
    )

    @field_validator("train_json", "val_json", "test_json", "retrieval_json")
    @classmethod
    def _no_file(cls, file: Path | None) -> Path | None:
        # `data.val_json=` gives an empty text, which as a path would be the working folder.
        return None if file == Path() else file

    @field_validator("source")
    @classmethod
    def _known_source(cls, word: str) -> str:
        require_source(word)
        return word

    @property
    def by_weights(self) -> tuple[str, ...]:
        """The options that say `backbone`."""
        return tuple(name for name in InputSettings._fields if getattr(self, name) == BY_WEIGHTS)

    @property
    def input_settings(self) -> InputSettings:
        """The numbers. UserError: an option says `backbone`; `recipe.input_settings.settled` looks the numbers up."""
        if self.by_weights:
            raise UserError(
                f"data.{self.by_weights[0]}={BY_WEIGHTS} is replaced by a number when a run starts, and this recipe is"
                " of no run yet: pass it through shelfmark.recipe.input_settings.settled."
            )
        return InputSettings(*(getattr(self, name) for name in InputSettings._fields))


class RandAugmentOptions(Section):
    """RandAugment: random operations such as rotation, shear and contrast."""

    num_ops: NotNegative = option(0, "number of operations that RandAugment applies to each image. 0: off")
    magnitude: Annotated[int, Field(ge=0, le=30)] = option(9, "strength of the operations")


class SizeStage(Section):
    """A size of the training images, from an epoch on."""

    from_epoch: NotNegative = option(..., "first epoch with this size. Epochs count from 0")
    size_px: Positive = option(..., "height and width of the training images, in pixels")


class AugmentOptions(Section):
    """Random changes of the training images."""

    views: Positive = option(
        1,
        "number of copies of each image in a batch, each augmented differently. A batch then has"
        " train.batch_size / views different images, and an epoch over all images has views times as many"
        " steps",
    )
    sizes: tuple[SizeStage, ...] = option(
        (),
        "sizes of the training images that change with the epoch, such as 112, 160, 224. Before the first"
        " entry the size is data.input_size_px",
    )
    mixup: float = option(
        0.0,
        "alpha of mixup: two images and their labels are averaged, with a share drawn from Beta(alpha, alpha). 0: off",
        ge=0,
    )
    cutmix: float = option(
        0.0,
        "alpha of CutMix: a rectangle of an image is replaced by the same rectangle of another image, and"
        " the label is shared by area. The share is drawn from Beta(alpha, alpha). 0: off. If mixup is on"
        " too, each step draws one of the two",
        ge=0,
    )
    remix: float = option(
        0.0,
        "kappa of Remix, which changes the labels of mixup and CutMix: the rarer of the two classes gets"
        " the whole label if the other class has at least kappa times as many training images, and makes"
        " up less than half of the mixed image. 0: off. 3 is usual",
        ge=0,
    )
    resize_px: tuple[Positive, ...] = option(
        (),
        "resize before the crop. []: no resize. [256]: the shorter side becomes 256. [256, 256]: height"
        " and width become 256",
        max_length=2,
    )
    crop_scale: tuple[float, float] = option(
        (0.08, 1.0),
        "smallest and largest area of the random crop, as a share of the image. The crop is resized to the input size",
    )
    crop_ratio: tuple[float, float] = option((0.75, 4 / 3), "smallest and largest width / height of the random crop")
    crop_padding_px: NotNegative = option(
        0,
        "black pixels that are added to each side of the image, after its shorter side is resized to the"
        " input size. Then a random square of the input size is cut out. This replaces crop_scale and"
        " crop_ratio. 0: off",
    )
    flip: Fraction = option(0.5, "probability of a horizontal flip")
    color_jitter: tuple[float, float, float, float] = option(
        (0.0, 0.0, 0.0, 0.0),
        "largest random change of brightness, contrast, saturation and hue, as in torchvision's ColorJitter",
    )
    color_jitter_probability: Fraction = option(1.0, "probability that color_jitter is applied to an image")
    randaugment: RandAugmentOptions = RandAugmentOptions()
    erasing: Fraction = option(0.0, "probability that a random rectangle of an image is erased")
    albumentations: Path | None = option(
        None,
        "file of a pipeline that albumentations.save() wrote. The pipeline replaces resize, crop, flip,"
        " colour jitter and RandAugment",
    )

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> AugmentOptions:
        epochs = [stage.from_epoch for stage in self.sizes]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"sizes begin at epochs {epochs}; give them in rising order, each once")
        if self.remix and not (self.mixup or self.cutmix):
            raise ValueError(f"remix={self.remix} shifts the labels of mixed images; set mixup or cutmix too")
        require_remix_ratio(self.remix)
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}={[low, high]} must be two numbers with 0 < low <= high")
        if self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale={list(self.crop_scale)} must not exceed 1, the whole image")
        if not all(0 <= strength <= (0.5 if index == 3 else 10) for index, strength in enumerate(self.color_jitter)):
            raise ValueError(f"color_jitter={list(self.color_jitter)} must not be negative, and hue at most 0.5")
        return self


def require_remix_ratio(remix: float | None) -> None:
    if remix is not None and 0 < remix < 1:
        raise ValueError(f"remix={remix} is how many times rarer a class must be: 1 or above, usual is 3")
