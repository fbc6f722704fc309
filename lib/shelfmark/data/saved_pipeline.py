"""A user's own augmentation, saved with albumentations."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.core.errors import UserError


class SavedPipeline:
    """`pipeline(rgb, seed)` is the augmented picture, (H, W, 3) uint8 or float32; the seed alone decides it.

    file: what albumentations.save() wrote, .json or .yaml.
    """

    def __init__(self, file: Path) -> None:
        self.file = Path(file)
        self.pipeline = _load(self.file)

    def __call__(self, rgb: np.ndarray, seed: int) -> np.ndarray:
        # set_random_seed() would start every step of the pipeline from the same numbers, so that two
        # flips always fell together; here all steps draw from one stream.
        self.pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            image = self.pipeline(image=rgb)["image"]
        except Exception as error:
            shape = "x".join(map(str, rgb.shape))
            raise UserError(f"augment.albumentations={self.file} failed on a {shape} image: {error}") from error
        if isinstance(image, torch.Tensor):
            image = image.permute(1, 2, 0).numpy()
        return self._checked(image)

    def _checked(self, image: np.ndarray) -> np.ndarray:
        if image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"augment.albumentations={self.file} turned an RGB image into shape {image.shape};"
                " it must keep (height, width, 3). Remove the step that changes the number of channels."
            )
        if image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating):
            return np.ascontiguousarray(image if image.dtype == np.uint8 else image.astype(np.float32))
        raise UserError(f"augment.albumentations={self.file} gave {image.dtype} pixels; it must give uint8 or float.")


def _load(file: Path) -> Any:
    # Without this, importing albumentations asks a server whether there is a newer one.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        import albumentations
    except ImportError:
        raise UserError(
            f"augment.albumentations={file} needs the albumentations package: pip install 'albumentations>=1.4.21,<3'"
        ) from None
    formats = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
    if file.suffix not in formats:
        raise UserError(f"augment.albumentations={file} must end in .json, .yaml or .yml.")
    if file.exists() and not file.is_file():
        raise UserError(f"augment.albumentations={file} is not a regular file.")
    try:
        pipeline = albumentations.load(file, data_format=formats[file.suffix])
    except FileNotFoundError:
        raise UserError(f"augment.albumentations={file} does not exist.") from None
    except Exception as error:
        raise UserError(
            f"augment.albumentations={file} is not a pipeline that albumentations {albumentations.__version__} can"
            f" load ({type(error).__name__}: {error}). Write it with albumentations.save(pipeline, FILE)."
        ) from error
    if not hasattr(pipeline, "set_random_state"):
        raise UserError(f"augment.albumentations={file} holds no transform but a {type(pipeline).__name__}.")
    return pipeline
