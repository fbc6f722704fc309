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

    keep: tuple[Path, ...] = option((), "files of image ids, one a line; if any are given, all other images go")
    drop: tuple[Path, ...] = option((), "files of image ids, one a line, that go whatever other lists say")
    relabel: tuple[Path, ...] = option((), "CSV files `image_id,label` of corrected labels; the later line holds")


class DataOptions(Section):
    generated: Literal["", "shop"] = option(
        "", "`shop`: make the generated catalogue in data.root, if train_json lies there and is missing"
    )
    root: Path = option(Path("dataset/shop"), "folder that the annotations' fpath is relative to")
    test_root: Path | None = option(None, "folder of the test images; data.root where it is not given")
    extra_roots: tuple[Path, ...] = option((), "further folders that an absolute fpath, or a link, may lead into")
    train_json: Path | None = option(None, "training annotations")
    more_train_json: tuple[Path, ...] = option(
        (), "further training annotations of the same classes; what of them is in val_json too is partly held out"
    )
    val_json: Path | None = option(
        None, "validation annotations of the training classes; not needed with retrieval_json and an eval.metric of it"
    )
    test_json: Path | None = option(None, "test set: {'images': [{'image_id': ...}]}")
    retrieval_json: Path | None = option(
        None,
        "pictures to search, of any classes: those with is_query among those with is_gallery, or, without these, each"
        " among all others; null: val in itself",
    )
    lists: Lists = Lists()
    num_classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)] = option(
        0, "number of classes; 0 reads it from the training annotations"
    )
    input_size_px: Positive = option(224, "side of the square that the network sees")
    eval_crop: Fraction = option(0.875, "evaluation resizes the shorter side to int(input_size_px / eval_crop)", gt=0)
    eval_resize_px: tuple[Positive, ...] | None = option(
        None, "in place of eval_crop: [] is no resize, [256] the shorter side, [256, 256] both", max_length=2
    )
    interpolation: Literal["bilinear", "bicubic"] = option("bilinear", "of every resize, in training and evaluation")
    num_workers: NotNegative = option(1, "loader processes per rank; 0 reads in the training process")
    on_bad_image: Literal["error", "skip"] = option("error", "an unreadable image ends the run, or is counted and left")
    max_image_bytes: Positive = option(100_000_000, "an image file with more bytes counts as unreadable")
    max_image_pixels: Annotated[int, Field(ge=1, le=PILLOW_MAX_PIXELS)] = option(
        100_000_000,
        "an image with more pixels counts as unreadable; a JPEG is read at 1/2, 1/4 or 1/8 of its sides instead",
    )
    mean: tuple[float, float, float] = option((0.485, 0.456, 0.406), "RGB mean, for pixels in 0..1")
    std: tuple[float, float, float] = option((0.229, 0.224, 0.225), "RGB standard deviation, for pixels in 0..1")

    @field_validator("train_json", "val_json", "test_json", "retrieval_json")
    @classmethod
    def _no_file(cls, file: Path | None) -> Path | None:
        # Of `data.val_json=`, with nothing behind it. As a path that is the folder which the command runs in.
        return None if file == Path() else file


class RandAugmentOptions(Section):
    num_ops: NotNegative = option(0, "operations per image; 0 is off")
    magnitude: Annotated[int, Field(ge=0, le=30)] = option(9, "strength, 0..30")


class SizeStage(Section):
    from_epoch: NotNegative = option(..., "first epoch (from 0) at this size")
    size_px: Positive = option(..., "side of the square that training images are cropped to")


class AugmentOptions(Section):
    views: Positive = option(
        1,
        "how often each drawn image stands in the batch, each time augmented differently: train.batch_size / views"
        " images are distinct, and an epoch, as long as a pass over all images, has so many times the steps",
    )
    sizes: tuple[SizeStage, ...] = option(
        (), "training sizes by epoch, such as 112, 160, 224; before the first, data.input_size_px"
    )
    mixup: float = option(0.0, "alpha of mixup's Beta(alpha, alpha); 0 is off", ge=0)
    cutmix: float = option(0.0, "alpha of CutMix's Beta(alpha, alpha); 0 is off. With mixup a step draws one", ge=0)
    remix: float = option(0.0, "kappa of Remix: a class so many times rarer takes the whole label; 0 is off", ge=0)
    resize_px: tuple[Positive, ...] = option(
        (), "before the crop: [] is no resize, [256] the shorter side, [256, 256] both", max_length=2
    )
    crop_scale: tuple[float, float] = option((0.08, 1.0), "area of the random resized crop, as a part of the image")
    crop_ratio: tuple[float, float] = option((0.75, 4 / 3), "aspect ratio (width / height) of the random resized crop")
    crop_padding_px: NotNegative = option(
        0, "black pixels around the image before a random crop, in place of the random resized one; 0 is off"
    )
    flip: Fraction = option(0.5, "probability of a horizontal flip")
    color_jitter: tuple[float, float, float, float] = option(
        (0.0, 0.0, 0.0, 0.0), "strengths of brightness, contrast, saturation and hue"
    )
    color_jitter_probability: Fraction = option(1.0, "how often an image is jittered at all")
    randaugment: RandAugmentOptions = RandAugmentOptions()
    erasing: Fraction = option(0.0, "probability of random erasing")
    albumentations: Path | None = option(
        None, "a pipeline saved with albumentations.save(); replaces resize, crop, flip, jitter and RandAugment"
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
