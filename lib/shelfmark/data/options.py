"""Options of the data: where they lie, and how a picture becomes the network's input, in training and in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from shelfmark.config.section import Fraction, NotNegative, Positive, Section, option
from shelfmark.data.annotations import MAX_CLASSES
from shelfmark.data.images import PILLOW_MAX_PIXELS


class Lists(Section):
    """Corrections of the training annotations; `shelfmark clean` writes lists to start from."""

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
    generated: Literal["", "shop"] = option(
        "", "shop: data.root is filled with the generated catalogue if train_json lies there and does not exist yet"
    )
    root: Path = option(
        Path("dataset/shop"), "folder of the images. The annotations name each image by its path from here"
    )
    test_root: Path | None = option(None, "folder of the test images; null: data.root")
    extra_roots: tuple[Path, ...] = option(
        (), "further folders in which images may lie, for absolute paths and links that lead out of data.root"
    )
    train_json: Path | None = option(None, "annotations of the training images")
    more_train_json: tuple[Path, ...] = option(
        (),
        "further training annotations, of the same classes. Of images that also stand in val_json, a part is"
        " held out of the training",
    )
    val_json: Path | None = option(
        None,
        "annotations of the validation images, of the training classes. Not needed if retrieval_json is given"
        " and eval.metric is a retrieval score",
    )
    test_json: Path | None = option(None, "annotations of the test images: {'images': [{'image_id': ...}]}")
    retrieval_json: Path | None = option(
        None,
        "annotations of images that are searched for retrieval scores, of any classes. Images with is_query"
        " are searched among those with is_gallery; without these keys, each image is searched among all"
        " others. null: the validation images are searched among themselves",
    )
    lists: Lists = Lists()
    num_classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)] = option(
        0, "number of classes; 0: as many as the training annotations have"
    )
    input_size_px: Positive = option(224, "side of the square input of the network, in pixels")
    eval_crop: Fraction = option(
        0.875,
        "evaluation resizes the shorter side of an image to int(input_size_px / eval_crop) and cuts out the centre",
        gt=0,
    )
    eval_resize_px: tuple[Positive, ...] | None = option(
        None,
        "used in place of eval_crop. []: no resize; [256]: the shorter side becomes 256; [256, 256]: height"
        " and width do; null: eval_crop holds",
        max_length=2,
    )
    interpolation: Literal["bilinear", "bicubic"] = option(
        "bilinear", "interpolation of every resize, in training and in evaluation"
    )
    num_workers: NotNegative = option(
        1, "worker processes that load images, for each training process; 0: the training process loads them"
    )
    on_bad_image: Literal["error", "skip"] = option(
        "error", "error: an image that cannot be read ends the run; skip: it is counted, listed and left out"
    )
    max_image_bytes: Positive = option(100_000_000, "an image file of more bytes counts as unreadable")
    max_image_pixels: Annotated[int, Field(ge=1, le=PILLOW_MAX_PIXELS)] = option(
        100_000_000,
        "an image of more pixels counts as unreadable. A larger JPEG is decoded at 1/2, 1/4 or 1/8 of its"
        " width and height if that is small enough",
    )
    mean: tuple[float, float, float] = option(
        (0.485, 0.456, 0.406), "mean of each RGB channel, which normalisation subtracts; pixels are in 0..1"
    )
    std: tuple[float, float, float] = option(
        (0.229, 0.224, 0.225),
        "standard deviation of each RGB channel, by which normalisation divides; pixels are in 0..1",
    )

    @field_validator("train_json", "val_json", "test_json", "retrieval_json")
    @classmethod
    def _no_file(cls, file: Path | None) -> Path | None:
        # `data.val_json=` gives an empty text, which as a path would be the working folder.
        return None if file == Path() else file


class RandAugmentOptions(Section):
    num_ops: NotNegative = option(0, "operations that RandAugment applies to each image; 0: off")
    magnitude: Annotated[int, Field(ge=0, le=30)] = option(9, "strength of the operations, 0 to 30")


class SizeStage(Section):
    from_epoch: NotNegative = option(..., "first epoch of this size; epochs count from 0")
    size_px: Positive = option(..., "side of the square training images, in pixels")


class AugmentOptions(Section):
    views: Positive = option(
        1,
        "copies of each image in a batch, each augmented differently. A batch has train.batch_size / views"
        " different images, so an epoch over all images has views times as many steps",
    )
    sizes: tuple[SizeStage, ...] = option(
        (),
        "sizes of the training images by epoch, such as 112, 160, 224. Before the first one data.input_size_px holds",
    )
    mixup: float = option(
        0.0, "alpha of mixup: two images are averaged, with a share drawn from Beta(alpha, alpha); 0: off", ge=0
    )
    cutmix: float = option(
        0.0,
        "alpha of CutMix: a rectangle of one image replaces that part of another; its share of the area is"
        " drawn from Beta(alpha, alpha); 0: off. If mixup is on too, each step draws one of the two",
        ge=0,
    )
    remix: float = option(
        0.0,
        "kappa of Remix, for mixup and CutMix: if one of the two classes has at least kappa times as many"
        " training images as the other, and less than half of the mixed image, the other, rarer class gets the"
        " whole label; 0: off",
        ge=0,
    )
    resize_px: tuple[Positive, ...] = option(
        (),
        "resize before the crop. []: none; [256]: the shorter side becomes 256; [256, 256]: height and width do",
        max_length=2,
    )
    crop_scale: tuple[float, float] = option(
        (0.08, 1.0),
        "area of the random crop as a share of the image: smallest, largest. The crop is resized to the input size",
    )
    crop_ratio: tuple[float, float] = option((0.75, 4 / 3), "width / height of the random crop: smallest, largest")
    crop_padding_px: NotNegative = option(
        0,
        "pad each side of the image with so many black pixels and cut a random window of the input size out,"
        " in place of the resized crop; 0: off",
    )
    flip: Fraction = option(0.5, "probability of a horizontal flip")
    color_jitter: tuple[float, float, float, float] = option(
        (0.0, 0.0, 0.0, 0.0), "strength of the random change of brightness, contrast, saturation and hue"
    )
    color_jitter_probability: Fraction = option(1.0, "probability that color_jitter is applied to an image")
    randaugment: RandAugmentOptions = RandAugmentOptions()
    erasing: Fraction = option(0.0, "probability that a random rectangle of an image is erased")
    albumentations: Path | None = option(
        None,
        "file of a pipeline that albumentations.save() wrote. It replaces resize, crop, flip, colour jitter"
        " and RandAugment",
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
