"""Colours that a picture's own profile (ICC) describes, as those of sRGB: by LittleCMS, which comes with Pillow."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from shelfmark.data.notices import NOTICES

ColourProfiles = Literal["ignore", "apply"]
"""What happens to a picture's profile; the values of data.color_profiles."""

MAX_PROFILE_BYTES = 4_000_000
"""Profiles of printing presses have two million bytes or three."""
SAME_LEVELS = 2
"""A profile that moves no colour by more, of 255 levels, is one of the many spellings of sRGB."""

_MODELS = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_MODEL_OF_MODE = {
    **dict.fromkeys(("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr"), "RGB"),
    **dict.fromkeys(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"), "L"),
    "CMYK": "CMYK",
}
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")


def conversion_of(image: Image.Image, name: str) -> ImageCms.ImageCmsTransform | None:
    """What makes the colours of an opened picture those of sRGB; None where nothing is to be done.

    That is so without a profile, with one of sRGB, and with one that is damaged or of another kind of colours than the
    picture has. The first picture with such a profile is noticed by its name.
    """
    profile, model = image.info.get("icc_profile"), _MODEL_OF_MODE.get(image.mode)
    if not (profile and model):
        return None
    conversion, why_not = _conversion(bytes(profile), model)
    if why_not:
        NOTICES.add(
            f"colour profile: {why_not}",
            f"the colour profile of {name} is {why_not}, so the colours are read as sRGB; other pictures with such a"
            " profile are read like it, and are not named",
        )
    return conversion


def in_srgb(image: Image.Image, conversion: ImageCms.ImageCmsTransform) -> Image.Image:
    """The picture as RGB, or as RGBA where it has transparent pixels. conversion: of `conversion_of`."""
    alpha = None
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        alpha = whole.getchannel("A")
        # Of a palette with transparent colours Pillow warns where it loses them.
        image = whole if image.mode == "P" else image
    converted = conversion.apply(image.convert(conversion.input_mode))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


@lru_cache(maxsize=8)
def _conversion(profile: bytes, model: str) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """The conversion, and why there can be none; empty where there is one, or none is needed."""
    if why_not := _why_not(profile, model):
        return None, why_not
    try:
        conversion = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            model,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
            # So the black of a press, which is a dark grey, becomes black.
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError):
        return None, "damaged"
    return (None if model != "CMYK" and _changes_nothing(conversion, model) else conversion), ""


def _why_not(profile: bytes, model: str) -> str:
    if len(profile) > MAX_PROFILE_BYTES:
        return f"more than {MAX_PROFILE_BYTES:,} bytes"
    if len(profile) < 128 or profile[36:40] != b"acsp" or profile[12:16] not in _CLASSES:
        return "damaged"
    return "" if _MODELS.get(profile[16:20]) == model else "of other colours than the picture has, as CMYK and RGB"


def _changes_nothing(conversion: ImageCms.ImageCmsTransform, model: str) -> bool:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = levels[None] if model == "L" else np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    found = np.asarray(conversion.apply(Image.fromarray(colours))).astype(int)
    return int(np.abs(found - (colours[..., None] if model == "L" else colours)).max()) <= SAME_LEVELS
