"""Answers of an exported model, with numpy, pillow and onnxruntime alone.

Legend: N pictures, H x W pixels, D embedding, C classes, K places.

    python predict.py photo.jpg ... [--json]    the products in photographs
    python predict.py --check                   the pictures in reference/: does the file answer here as the model did?

    predict.load(folder).predict(["a.jpg", "b.jpg"])    embedding (N, D) and logits (N, C)

`shelfmark export` puts this file into each folder that it writes, beside model.onnx and model.json. Pixels are resized
in whole numbers as torch does it on a CPU, so the network sees what it saw in its own evaluation.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

Picture = str | Path | bytes

PASSED_AT_ONCE = 16
NUM_CANDIDATES = 5
MODEL, PARITY, REFERENCE, OUTPUTS = "model.json", "parity.json", "reference", "outputs.npz"
_MANIFEST = "manifest.json"
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_MOST_PROFILE_BYTES, _SAME_LEVELS = 4_000_000, 2
_ORIENTATION, _DNG_VERSION, _SUBFILE_TYPE = 0x0112, 0xC612, 254
_BLOCK, _STRIP_ROWS = 16, 64
_ALL = slice(None)
_MOST_BITS = 22
"""Of a weight in whole numbers; torch's limit."""


class UnreadablePicture(Exception):  # noqa: N818
    """A picture that cannot be read. name: of the file, or its place. reason: a few words."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} could not be read: {reason}")
        self.name, self.reason = name, reason


def load(folder: str | Path, providers: Sequence[str] | None = None, threads: int = 0) -> Predictor:
    """The exported model in a folder. providers: of onnxruntime, by default the CPU. threads: 0 for one a core."""
    return Predictor(Path(folder), providers, threads)


class Predictor:
    """An exported model. facts: what model.json says."""

    def __init__(self, folder: Path, providers: Sequence[str] | None = None, threads: int = 0) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        self.outputs: list[str] = list(self.facts["outputs"])
        run = _onnx if self.facts["file"].endswith(".onnx") else _torch
        self._run = run(folder / self.facts["file"], self.outputs, list(providers or ["CPUExecutionProvider"]), threads)

    def predict(self, pictures: Sequence[Picture]) -> tuple[np.ndarray, np.ndarray]:
        """Embedding (N, D) and logits (N, C), float32, of files or the bytes of files. Raises UnreadablePicture."""
        found = self._of_blocks(pictures)
        return found["embedding"], found["logits"]

    def pixels(self, picture: Picture, name: str = "") -> np.ndarray:
        """(H, W, 3) uint8 RGB: what the network sees of a picture. Raises UnreadablePicture. name: for that error."""
        how = self.facts["input"]
        data, named = _data(picture, name, how["max_bytes"])
        return to_input(decoded(data, named, how["max_pixels"], how.get("color_profiles", "ignore")), how)

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Each output by its name, for pixels (N, H, W, 3) uint8."""
        return dict(zip(self.outputs, self._run(pixels)))

    def answer(self, embedding: np.ndarray, logits: np.ndarray) -> list[dict[str, Any]]:
        """The answer for each of the N rows, as `--json` prints it; its id is the row's number as text.

        Where model.json has thresholds that the classifier alone can apply, they decide, and `promise` says what they
        promise. Else the likeliest class is the answer, and `promise` is None.
        """
        thresholds = self.facts["thresholds"]
        promise = promised(thresholds) if thresholds and not needs_index(thresholds) else None
        found = []
        for row, chances in enumerate(softmax(logits)):
            best = np.argsort(-chances, kind="stable")[:NUM_CANDIDATES]
            candidates = [self._candidate(int(label), float(chances[label])) for label in best]
            answer = {"kind": "product", **candidates[0], "rule": None}
            if promise is not None:
                answer = self._decided(decide(thresholds, chances, log_sum(logits[row : row + 1])[0]), chances)
            found.append({"id": str(row), "answer": answer, "candidates": candidates, "promise": promise})
        return found

    def answers(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """As `answer`; a picture that cannot be read has {"id", "error"} in its place."""
        found: list[dict[str, Any]] = []
        for place, picture in enumerate(pictures):
            name = picture if isinstance(picture, str | Path) else str(place)
            try:
                found.extend({**one, "id": str(name)} for one in self.answer(*self.predict([picture])))
            except UnreadablePicture as error:
                found.append({"id": str(name), "error": error.reason})
        return found

    def _candidate(self, label: int, score: float) -> dict[str, Any]:
        return {"class": label, "name": self._name(label), "score": score}

    def _name(self, label: int) -> str | None:
        names = self.facts["class_names"]
        return (names[label] or None) if names else None

    def _decided(self, decision: Mapping[str, Any], chances: np.ndarray) -> dict[str, Any]:
        members = decision["members"]
        if decision["kind"] == "product":
            return {
                "kind": "product",
                **self._candidate(members[0], float(chances[members[0]])),
                "rule": decision["rule"],
            }
        answer = {
            "kind": decision["kind"],
            "class": None,
            "name": None,
            "score": None,
            "rule": decision["rule"] or None,
        }
        if decision["kind"] == "unknown":
            return {**answer, "reason": decision["reason"]}
        more = {"classes": members, "names": [self._name(label) for label in members]}
        return {**answer, **({"family": decision["group"]} if decision["kind"] == "family" else {}), **more}

    def _of_blocks(self, pictures: Sequence[Picture]) -> dict[str, np.ndarray]:
        blocks = []
        for start in range(0, len(pictures), PASSED_AT_ONCE):
            block = pictures[start : start + PASSED_AT_ONCE]
            blocks.append(self.run(np.stack([self.pixels(one, f"picture {start + n}") for n, one in enumerate(block)])))
        if not blocks:
            return {name: np.empty((0, size), np.float32) for name, size in self.facts["outputs"].items()}
        return {name: np.concatenate([block[name] for block in blocks]) for name in self.outputs}


# Thresholds, as `calibration.promise.rules` applies them; of its scores those that need no index.


def needs_index(thresholds: Mapping[str, Any]) -> bool:
    """Whether the rules rank products by an index, or ask for a score that the classifier alone does not give."""
    return thresholds.get("index_sha256") is not None or any(
        one["score"] not in ("softmax", "energy") for rule in thresholds["rules"] for one in rule["conditions"]
    )


def promised(thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """What thresholds promise, as an answer has it."""
    return {name: thresholds.get(name) for name in ("max_wrong", "confidence", "max_false_accept", "coverage")}


def decide(thresholds: Mapping[str, Any], chances: np.ndarray, energy: float) -> dict[str, Any]:
    """The kind of the answer for probabilities (C,) and the log-sum-exp of the logits; its classes, the likeliest
    first, and the rule that decided, or the reason why none did."""
    unmet = ""
    for rule in thresholds["rules"]:
        members, group = _members(rule, chances, thresholds.get("groups") or {})
        values = {"softmax": float(chances[members].sum()), "energy": float(energy)}
        fails = [] if members else ["no family has two products"]
        fails += [
            f"{one['score']} is {values[one['score']]:.3g}, and {one['at_least']:.3g} is asked for"
            for one in rule["conditions"]
            if members and not values[one["score"]] >= one["at_least"]
        ]
        if not fails:
            return {"kind": rule["kind"], "group": group, "rule": rule["name"], "members": members, "reason": ""}
        unmet = unmet or f"{rule['kind']}: {fails[0]}"
    reason = unmet or "there is no rule"
    return {"kind": "unknown", "group": None, "rule": "", "members": [], "reason": reason}


def _members(rule: Mapping[str, Any], chances: np.ndarray, groups: Mapping[str, str]) -> tuple[list[int], str | None]:
    order = np.argsort(-chances, kind="stable").tolist()
    if rule["kind"] != "family":
        return order[: 1 if rule["kind"] == "product" else rule["size"]], None
    families: dict[str, list[int]] = {}
    for label in order:
        if groups.get(str(label)):
            families.setdefault(groups[str(label)], []).append(label)
    # Of equally likely families the first by name.
    sums = {name: float(chances[members].sum()) for name, members in sorted(families.items())}
    best = max(sums, key=lambda name: sums[name], default=None)
    members = families[best] if best is not None else []
    return (members, best) if len(members) > 1 else ([], None)


# Pictures: bytes to pixels.


def decoded(data: bytes, name: str, max_pixels: int, profiles: str = "ignore") -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, transparent pixels over white; of several frames the first. A JPEG of more than
    max_pixels is read at 1/2, 1/4 or 1/8. profiles: `apply` makes colours of a profile those of sRGB. HEIC needs the
    package pillow_heif. Raises UnreadablePicture."""
    if not data:
        raise UnreadablePicture(name, "empty file")
    jpeg = data.startswith(b"\xff\xd8\xff")
    try:
        # Zeros at the end are what is missing of a download, and would be decoded as grey.
        with Image.open(io.BytesIO(data.rstrip(b"\0") if jpeg else data), formats=_formats(data, name)) as image:
            _shrink(image, max_pixels, name)
            image.load()
            if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                raise UnreadablePicture(name, "numbers of 32 bits in place of colours; save it with 8 or 16 bits")
            conversion = _conversion_of(image) if profiles == "apply" else None
            pixels = _upright(np.array(_as_rgb(image, conversion)), _orientation(image))
    except UnreadablePicture:
        raise
    except UnidentifiedImageError:
        raise UnreadablePicture(name, f"not one of: {', '.join(_FORMATS)}, HEIC") from None
    except (Image.DecompressionBombError, MemoryError):
        raise UnreadablePicture(name, "too many pixels") from None
    except Exception as error:  # decoders meet damage with errors of every type
        reason = "truncated" if "truncated" in str(error).lower() else f"damaged ({error})"
        raise UnreadablePicture(name, reason) from error
    return pixels


def _formats(data: bytes, name: str) -> tuple[str, ...]:
    if not _is_heic(data):
        return _FORMATS
    try:
        import pillow_heif
    except ImportError:
        raise UnreadablePicture(name, "HEIC, which needs the package pillow_heif") from None
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _is_heic(data: bytes) -> bool:
    """Whether HEIC is the first of the formats that the file says it keeps to; AVIF has the same container."""
    if data[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(data[:4], "big"), len(data))
    brands = [data[8:12], *(data[place : place + 4] for place in range(16, size - 3, 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS or brand in _HEIC_BRANDS:
            return brand in _HEIC_BRANDS
    return brands[0] in (b"mif1", b"msf1")


def _data(picture: Picture, name: str, max_bytes: int) -> tuple[bytes, str]:
    try:
        if isinstance(picture, bytes | bytearray | memoryview):
            name, size, data = name or "the picture", len(picture), bytes(picture)
        else:
            name, size = str(picture), Path(picture).stat().st_size
            data = Path(picture).read_bytes() if size <= max_bytes else b""
    except OSError as error:
        raise UnreadablePicture(name, error.strerror or "missing") from None
    if size > max_bytes:
        raise UnreadablePicture(name, f"more than {max_bytes:,} bytes")
    return data, name


def _shrink(image: Image.Image, max_pixels: int, name: str) -> None:
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE) == 1:
        raise UnreadablePicture(name, "camera raw, which is not read; save it as JPEG or PNG")
    width, height = image.size
    is_jpeg = image.format in ("JPEG", "MPO")
    fits = [by for by in ((1, 2, 4, 8) if is_jpeg else (1,)) if -(-width // by) * -(-height // by) <= max_pixels]
    if not fits:
        raise UnreadablePicture(name, "too many pixels")
    if is_jpeg and fits[0] > 1:
        image.draft(None, (width // fits[0], height // fits[0]))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata; the picture itself is sound
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _as_rgb(image: Image.Image, conversion: ImageCms.ImageCmsTransform | None) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if conversion is not None:
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        image = conversion.apply(image.convert(conversion.input_mode))
        if alpha is not None:
            image.putalpha(alpha)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _conversion_of(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """What makes colours of the picture's profile those of sRGB. None where it has none, or one of sRGB, or one that is
    damaged or of other colours than the picture's."""
    profile = image.info.get("icc_profile") or b""
    model = "L" if image.mode in _GREY_MODES else "CMYK" if image.mode == "CMYK" else "RGB"
    is_usable = (
        128 <= len(profile) <= _MOST_PROFILE_BYTES
        and image.mode not in ("LAB", "HSV")
        and profile[36:40] == b"acsp"
        and profile[12:16] in (b"scnr", b"mntr", b"prtr", b"spac")
        and profile[16:20] == {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}[model]
    )
    return _conversion(bytes(profile), model) if is_usable else None


@lru_cache(maxsize=8)
def _conversion(profile: bytes, model: str) -> ImageCms.ImageCmsTransform | None:
    srgb, intent = ImageCms.createProfile("sRGB"), ImageCms.Intent.PERCEPTUAL
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        conversion = ImageCms.buildTransform(own, srgb, model, "RGB", intent, ImageCms.Flags.BLACKPOINTCOMPENSATION)
    except (OSError, ImageCms.PyCMSError):
        return None
    if model == "CMYK":
        return conversion
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = levels[None] if model == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    found = np.asarray(conversion.apply(Image.fromarray(colours))).astype(int)
    moved = np.abs(found - (colours[..., None] if model == "L" else colours)).max()
    return conversion if moved > _SAME_LEVELS else None


# Pixels of a picture to those of the network's input.


def to_input(pixels: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8 at the size of the input. how: `input` of model.json."""
    resize_px, (height, width) = how["resize"]["size_px"], how["size_px"]
    if len(resize_px) == 1:
        pixels = _without_long_ends(pixels, how["resize"]["largest_aspect"])
    if resize_px:
        target = _target(pixels, resize_px)
        pixels = resized(pixels, *target, how["interpolation"], _middle(target[0], height), _middle(target[1], width))
    return centre(pixels, height, width)


def centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The centre of height x width; black fills what a smaller picture leaves."""
    missing = [max(0, wanted - there) for wanted, there in zip((height, width), pixels.shape)]
    if any(missing):
        pixels = np.pad(pixels, [*((one // 2, (one + 1) // 2) for one in missing), (0, 0)])
    return np.ascontiguousarray(pixels[_middle(pixels.shape[0], height), _middle(pixels.shape[1], width)])


def resized(
    pixels: np.ndarray, height: int, width: int, interpolation: str, rows: slice = _ALL, columns: slice = _ALL
) -> np.ndarray:
    """Antialiased, in whole numbers: along the rows first, then along the columns, each rounded to uint8.

    rows, columns: of the result the only ones that are computed.
    """
    if pixels.shape[0] == height:
        down, pixels = None, pixels[rows]
    else:
        down = _filter(pixels.shape[0], height, interpolation, rows)
        pixels = pixels[down.first[0] : down.first[-1] + down.weights.shape[1]]
    if pixels.shape[1] == width:
        pixels = pixels[:, columns]
    else:
        pixels = _across(pixels, _filter(pixels.shape[1], width, interpolation, columns))
    return pixels if down is None else _down(pixels, down._replace(first=down.first - down.first[0]))


def _middle(there: int, wanted: int) -> slice:
    """The middle `wanted` of `there` places, or all."""
    # `round` takes halves to the even number, as torchvision does.
    start = max(0, round((there - wanted) / 2))
    return slice(start, start + min(there, wanted))


def _target(pixels: np.ndarray, resize_px: Sequence[int]) -> tuple[int, int]:
    """Height and width after the resize; one number is that of the shorter side."""
    if len(resize_px) == 2:
        return resize_px[0], resize_px[1]
    (height, width), [shorter] = pixels.shape[:2], resize_px
    longer = int(shorter * max(height, width) / min(height, width))
    return (longer, shorter) if width <= height else (shorter, longer)


def _without_long_ends(pixels: np.ndarray, largest_aspect: int) -> np.ndarray:
    longest = largest_aspect * min(pixels.shape[:2])
    return centre(pixels, min(pixels.shape[0], longest), min(pixels.shape[1], longest))


class _Filter(NamedTuple):
    """For each new pixel the first old one (P,), and the weights from there on (P, taps), whole numbers of `bits`."""

    first: np.ndarray
    weights: np.ndarray
    bits: int

    def blocks(self, size: int) -> Iterator[tuple[slice, int, np.ndarray]]:
        """Of `size` new pixels each: their places, the first old pixel that they need, and their weights as (old, new)
        from that pixel on."""
        taps = np.arange(self.weights.shape[1])
        for start in range(0, len(self.first), size):
            block = slice(start, min(start + size, len(self.first)))
            begins = self.first[block] - self.first[start]
            matrix = np.zeros((len(begins), int(begins[-1]) + len(taps)))
            np.put_along_axis(matrix, begins[:, None] + taps, self.weights[block], axis=1)
            yield block, int(self.first[start]), matrix.T

    def rounded(self, total: np.ndarray) -> np.ndarray:
        """Weighted sums as uint8."""
        return ((total.astype(np.int64) + (1 << (self.bits - 1))) >> self.bits).clip(0, 255).astype(np.uint8)


# Sums of weighted pixels are whole numbers below 2**53, so float64 has them.


def _down(pixels: np.ndarray, wanted: _Filter) -> np.ndarray:
    """The first axis of (H, W, 3) filtered."""
    old = pixels.reshape(len(pixels), -1)
    new = np.empty((len(wanted.first), old.shape[1]), np.uint8)
    for block, low, matrix in wanted.blocks(_BLOCK):
        used = old[low : low + len(matrix)].astype(np.float64)
        new[block] = wanted.rounded(matrix[: len(used)].T @ used)
    return new.reshape(len(new), *pixels.shape[1:])


def _across(pixels: np.ndarray, wanted: _Filter) -> np.ndarray:
    """The second axis of (H, W, 3) filtered: a few rows at a time, so that what is computed of them stays in the
    processor's cache."""
    new = np.empty((len(pixels), len(wanted.first), 3), np.uint8)
    blocks = list(wanted.blocks(_BLOCK))
    for start in range(0, len(pixels), _STRIP_ROWS):
        strip = pixels[start : start + _STRIP_ROWS]
        for block, low, matrix in blocks:
            # (3, rows, old): a product with it sums along the last axis.
            used = strip[:, low : low + len(matrix)].transpose(2, 0, 1).astype(np.float64, order="C")
            total = used @ matrix[: used.shape[2]]
            new[start : start + _STRIP_ROWS, block] = wanted.rounded(total).transpose(1, 2, 0)
    return new


def _filter(before: int, after: int, interpolation: str, kept: slice) -> _Filter:
    """Of `before` old pixels to `after` new ones; of these the kept ones."""
    first, weights, bits = _weights(before, after, interpolation)
    return _Filter(first[kept], weights[kept], bits)


def _weights(before: int, after: int, interpolation: str) -> tuple[np.ndarray, np.ndarray, int]:
    """For each new pixel the first old one (after,), the weights from there on (after, taps), and their bits."""
    scale = before / after
    filter_of, reach = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}[interpolation]
    support = reach * max(scale, 1.0)
    middle = scale * (np.arange(after) + 0.5)
    first = np.maximum(np.trunc(middle - support + 0.5).astype(np.int64), 0)
    count = np.minimum(np.trunc(middle + support + 0.5).astype(np.int64), before) - first
    taps = int(np.ceil(support)) * 2 + 1
    places = np.arange(taps)
    values = filter_of((places + first[:, None] - middle[:, None] + 0.5) * (1 / scale if scale >= 1 else 1.0))
    values[places >= count[:, None]] = 0
    # One after the other, as torch adds them: the last digit decides how a weight is rounded.
    values /= np.add.accumulate(values, axis=1)[:, -1:]
    bits = 0
    while bits < _MOST_BITS and int(0.5 + values.max() * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    whole = values * (1 << bits)
    return first, np.trunc(whole + np.where(whole < 0, -0.5, 0.5)).astype(np.int32), bits


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


# Runtimes.


def _onnx(file: Path, outputs: Sequence[str], providers: list[str], threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=providers)
    return lambda pixels: session.run(list(outputs), {"pixels": pixels})


def _torch(file: Path, outputs: Sequence[str], providers: list[str], threads: int) -> Any:
    """Of `--to torch`: this runtime is torch itself."""
    import torch

    network = torch.export.load(file).module()

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [one.numpy() for one in network(torch.from_numpy(np.array(pixels)))]

    return run


# What two runtimes make of the same pictures.


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C) float64."""
    chances = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


def kept(embedding: np.ndarray, logits: np.ndarray, most: int = 1000) -> dict[str, np.ndarray]:
    """What is kept of outputs: embedding (N, D), the K best classes and their logits (N, K), K <= most, and the
    logarithm of the sum of exp over all C logits (N,)."""
    classes = np.argsort(-logits, axis=1, kind="stable")[:, :most]
    return {
        "embedding": embedding.astype(np.float32),
        "classes": classes.astype(np.int32),
        "logits": np.take_along_axis(logits, classes, axis=1).astype(np.float32),
        "log_sum": log_sum(logits),
    }


def log_sum(logits: np.ndarray) -> np.ndarray:
    """(N,) float64: the logarithm of the sum of exp over (N, C) logits."""
    highest = logits.max(axis=1).astype(np.float64)
    return highest + np.log(np.exp(logits.astype(np.float64) - highest[:, None]).sum(axis=1))


def compared(
    expected: Mapping[str, np.ndarray], embedding: np.ndarray, logits: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """How far outputs are from those expected, which `kept` gave. labels: (N,), -1 for a picture without one.

    logits and embedding: the largest difference as a share of the largest value, and itself.
    """
    # Of numbers that are none the first would count as the largest.
    is_number = np.isfinite(logits).all(axis=1)
    found = np.take_along_axis(logits, expected["classes"].astype(np.int64), axis=1)
    chances = np.exp(found - log_sum(logits)[:, None])
    before = np.exp(expected["logits"] - expected["log_sum"][:, None])
    before_recall, recall = (_recall_at_1(one, labels) for one in (expected["embedding"], embedding))
    return {
        "pictures": len(logits),
        "top1_agreement": float(np.mean(is_number & (logits.argmax(axis=1) == expected["classes"][:, 0]))),
        "probability_difference": _largest(chances, before),
        "logits_difference": _largest(found, expected["logits"]),
        "logits_relative": _largest(found, expected["logits"]) / _size(expected["logits"]),
        "embedding_difference": _largest(embedding, expected["embedding"]),
        "embedding_relative": _largest(embedding, expected["embedding"]) / _size(expected["embedding"]),
        "recall@1_before": before_recall,
        "recall@1": recall,
        "recall@1_change": None if before_recall is None or recall is None else recall - before_recall,
    }


def unmet(measured: Mapping[str, Any], allowed: Mapping[str, float]) -> list[str]:
    """A line on each number that is not as allowed. top1_agreement: at least; all others: at most, without a sign."""
    lines = []
    for name, limit in allowed.items():
        value = measured[name]
        if value is None:
            continue
        if name == "top1_agreement":
            if not value >= limit:
                lines.append(f"{name} is {value:.4%}, at least {limit:.4%} is required")
        elif not abs(value) <= limit:
            lines.append(f"{name} is {value:.3g}, at most {limit:.3g} is allowed")
    return lines


def damage(folder: Path) -> str | None:
    """What is missing in an exported folder or is not as it was written; None where all is. Reads every file.

    reference/ may be left out as a whole.
    """
    if not (folder / _MANIFEST).is_file():
        return f"{_MANIFEST} is missing"
    try:
        written = {name: one["sha256"] for name, one in json.loads((folder / _MANIFEST).read_bytes())["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{_MANIFEST} is damaged"
    has_reference = (folder / REFERENCE).is_dir()
    for name, sha256 in written.items():
        if not has_reference and name.startswith(f"{REFERENCE}/"):
            continue
        if not (folder / name).is_file():
            return f"{name} is missing"
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256:
            return f"{name} is damaged or was replaced"
    return None


def check(predictor: Predictor) -> dict[str, Any]:
    """`check_reference`, with what parity.json allows, and `unmet`: a line on each number that is not so."""
    parity = json.loads((predictor.folder / PARITY).read_text(encoding="utf-8"))
    allowed, found = parity["allowed_of_reference"], check_reference(predictor)
    return {**found, "allowed": allowed, "unmet": unmet(found["measured"], allowed)}


def check_reference(predictor: Predictor) -> dict[str, Any]:
    """The pictures of reference/ once more, from their files, against the outputs that the model gave for them.

    pixels_equal: pictures whose pixels are, byte for byte, those of the export.
    """
    folder = predictor.folder / REFERENCE
    with np.load(folder / OUTPUTS) as stored:
        expected = {name: stored[name] for name in stored.files}
    files = [folder / str(name) for name in expected["files"]]
    pixels = [predictor.pixels(file) for file in files]
    outputs = [predictor.run(np.stack(pixels[at : at + PASSED_AT_ONCE])) for at in range(0, len(files), PASSED_AT_ONCE)]
    embedding, logits = (np.concatenate([one[name] for one in outputs]) for name in ("embedding", "logits"))
    return {
        "measured": compared(expected, embedding, logits, expected["labels"]),
        "pixels_equal": sum(digest(one) == str(other) for one, other in zip(pixels, expected["pixels"])),
    }


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference; infinity where a number is none."""
    difference = np.abs(one.astype(np.float64) - other)
    return float(np.where(np.isfinite(difference), difference, np.inf).max(initial=0.0))


def _size(values: np.ndarray) -> float:
    return float(max(np.abs(values).max(initial=0.0), 1e-6))


def _recall_at_1(embedding: np.ndarray, labels: np.ndarray) -> float | None:
    """The share of pictures whose most similar other one has the same label; of those with such a one."""
    embedding, labels = embedding[labels >= 0].astype(np.float64), labels[labels >= 0]
    _, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(count[place] > 1)
    if not len(queries) or not np.isfinite(embedding).all():
        return None if np.isfinite(embedding).all() else float("nan")
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    # Rounded, so that pictures which are there twice are equally near, whatever the last digits say.
    cosines = np.round(unit[queries] @ unit.T, 6)
    cosines[np.arange(len(queries)), queries] = -np.inf
    return float(np.mean(labels[cosines.argmax(axis=1)] == labels[queries]))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 if a picture could not be read; 2 for what cannot be asked, and for a damaged folder; 3 if
    --check found another answer than the model's."""
    parser = argparse.ArgumentParser(description="The products in photographs, by the exported model beside this file.")
    parser.add_argument("photos", nargs="*", help="photographs")
    parser.add_argument("--json", action="store_true", help="write the answers as JSON")
    parser.add_argument("--check", action="store_true", help="compare the pictures in reference/ with their outputs")
    args = parser.parse_args(argv)
    if not args.photos and not args.check:
        parser.error("name a photograph, or give --check")
    folder = Path(__file__).resolve().parent
    if args.check and (wrong := damage(folder)):
        parser.error(f"--check: {folder} is not as it was exported: {wrong}")
    # Of a large photograph, which is read all the same or refused in words of ours.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    try:
        predictor = load(folder)
    except Exception as error:  # runtimes meet a damaged file with errors of every type
        parser.error(f"the model in {folder} cannot be opened: {type(error).__name__}: {error}")
    if args.check and not (folder / REFERENCE / OUTPUTS).is_file():
        parser.error(f"--check: {folder} has no {REFERENCE}/ to compare with")
    if args.check:
        found = check(predictor)
        numbers = found["measured"].items()
        finite = {name: value if value is None or np.isfinite(value) else None for name, value in numbers}
        print(json.dumps({**found, "measured": finite}, indent=2))
        return 3 if found["unmet"] else 0
    answers = predictor.answers(args.photos)
    if args.json:
        print(json.dumps(answers, indent=2))
    else:
        for answer in answers:
            print(_printable(_line(answer)))
    return 1 if any("error" in one for one in answers) else 0


def _printable(text: str) -> str:
    """Names as one line: what a terminal would take for a command, or cannot show, is written out."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _line(found: Mapping[str, Any]) -> str:
    if "error" in found:
        return f"{found['id']}: could not be read: {found['error']}"
    answer = found["answer"]
    if answer["kind"] == "product":
        shown = answer["name"] or answer["class"]
        return f"{found['id']}: {shown} ({answer['score']:.1%})"
    if answer["kind"] == "unknown":
        return f"{found['id']}: unknown ({answer['reason']})"
    members = ", ".join(str(name or label) for name, label in zip(answer["names"], answer["classes"]))
    what = " ".join([answer["kind"], *([answer["family"]] if "family" in answer else [])])
    return f"{found['id']}: {what}: {members}"


if __name__ == "__main__":
    sys.exit(main())
