"""predict.py sees the pixels that the checkpoint's evaluation sees."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shelfmark.calibration.promise import rules
from shelfmark.data.images import decode_rgb
from shelfmark.data.options import DataOptions
from shelfmark.data.sources import UnreadableImage
from shelfmark.data.transforms import eval_transform
from shelfmark.export import predict
from shelfmark.export.model_facts import input_facts
from shelfmark.export.predict import UnreadablePicture

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def of_checkpoint(pixels: np.ndarray, data: DataOptions) -> np.ndarray:
    """(H, W, 3) uint8: what the checkpoint's transform makes, before it is normalised."""
    image = eval_transform(data.input_size_px, data)(pixels, 0)
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from([1, 7, 32, 33, 64]),
    st.sampled_from(["bilinear", "bicubic"]),
    st.sampled_from([0.5, 0.875, 0.95, 1.0]),
    st.sampled_from([None, (), (40,), (24,), (50, 31)]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_resize_and_crop_are_those_of_the_checkpoint_to_the_last_bit(
    height: int,
    width: int,
    size: int,
    interpolation: str,
    crop: float,
    resize_px: tuple[int, ...] | None,
    is_black_and_white: bool,
    seed: int,
) -> None:
    data = DataOptions(
        input_size_px=size, interpolation=interpolation, eval_crop=crop, eval_resize_px=resize_px, **PLAIN
    )
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if is_black_and_white:  # bicubic leaves 0..255 there
        pixels = (pixels // 128) * 255
    found = predict.to_input(pixels, input_facts(data))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, of_checkpoint(pixels, data))


@pytest.mark.parametrize("shape", [(1, 900), (900, 1), (3, 700), (2000, 1500), (3000, 4000)])
def test_strips_and_large_photographs_too(shape: tuple[int, int]) -> None:
    data = DataOptions(input_size_px=32, eval_crop=0.875, **PLAIN)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(predict.to_input(pixels, input_facts(data)), of_checkpoint(pixels, data))


def _file(image: Image.Image, kind: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def _files() -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((71, 93), Image.Resampling.BICUBIC)
    clear = Image.fromarray(generator.integers(0, 256, (20, 30, 4), dtype=np.uint8))
    turned = picture.getexif()
    found = {
        "jpeg": _file(picture, "JPEG", quality=90),
        "jpeg without subsampling": _file(picture, "JPEG", quality=80, subsampling=0),
        "progressive": _file(picture, "JPEG", progressive=True),
        "grey jpeg": _file(picture.convert("L"), "JPEG"),
        "cmyk jpeg": _file(picture.convert("CMYK"), "JPEG"),
        "png": _file(picture, "PNG"),
        "transparent": _file(clear, "PNG"),
        "palette": _file(picture.quantize(20), "PNG"),
        "16 bits": _file(Image.fromarray(generator.integers(0, 65536, (20, 30)).astype(np.uint16)), "PNG"),
        "one bit": _file(picture.convert("1"), "PNG"),
        "webp": _file(picture, "WEBP", quality=80),
        "gif": _file(picture, "GIF"),
        "bmp": _file(picture, "BMP"),
        "tiff": _file(picture, "TIFF"),
        "zeros behind the end": _file(picture, "JPEG") + bytes(50),
    }
    for orientation in range(2, 9):
        turned[0x0112] = orientation
        found[f"orientation {orientation}"] = _file(picture, "JPEG", exif=turned)
    return found


@pytest.mark.parametrize(("name", "data"), _files().items())
def test_a_file_is_decoded_as_in_the_package(name: str, data: bytes) -> None:
    ours = decode_rgb(data, name)
    theirs = predict.decoded(data, name, 10**8)
    assert theirs.shape == ours.shape
    # JPEG by OpenCV and by Pillow: both by libjpeg-turbo, whose versions may round otherwise.
    assert np.abs(theirs.astype(int) - ours).max() <= (2 if "jpeg" in name or "orientation" in name else 0)


def test_a_heic_is_decoded_as_in_the_package_and_without_its_decoder_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    picture.getexif()[0x0112] = 6
    data = _file(picture, "HEIF")
    found = predict.decoded(data, "a", 10**8)
    assert found.shape == (40, 24, 3)
    np.testing.assert_array_equal(found, decode_rgb(data, "a"))
    with pytest.raises(UnreadablePicture, match="too many pixels"):
        predict.decoded(data, "a", 24 * 40 - 1)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadablePicture, match="HEIC, which needs the package pillow_heif"):
        predict.decoded(data, "a", 10**8)


def test_a_jpeg_that_is_too_large_is_read_smaller_and_another_picture_is_refused() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    data = _file(picture, "JPEG")
    assert predict.decoded(data, "a", 80 * 120 // 4).shape == decode_rgb(data, "a", 80 * 120 // 4).shape == (40, 60, 3)
    for decode, error in ((predict.decoded, UnreadablePicture), (decode_rgb, UnreadableImage)):
        with pytest.raises(error):
            decode(_file(picture, "PNG"), "a", 80 * 120 - 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no picture", "not one of: JPEG, PNG"),
        (_files()["jpeg"][:700], "truncated"),
        (_files()["png"][:200], "truncated"),
        (_files()["jpeg"][:-300] + bytes(300), "truncated"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadablePicture, match=reason) as caught:
        predict.decoded(data, "shelf.jpg", 10**8)
    assert caught.value.name == "shelf.jpg"


def test_thresholds_decide_as_in_the_package() -> None:
    generator = np.random.default_rng(0)
    groups = {0: "milk", 1: "milk", 2: "soap", 3: "soap", 4: "soap"}
    kinds = set()
    for _ in range(300):
        logits = generator.normal(0, generator.choice([0.5, 2, 6]), (1, 6))
        wanted = rules.Rules(
            (
                rules.Rule("product", {"softmax": generator.uniform(0.5, 1), "energy": generator.uniform(0, 4)}),
                rules.Rule("shortlist", {"softmax": generator.uniform(0.5, 1)}, 2),
                rules.Rule("family", {"softmax": generator.uniform(0.4, 1)}),
            ),
            groups,
        )
        thresholds = {
            "rules": [rule.as_json() for rule in wanted.rules],
            "groups": {str(label): name for label, name in groups.items()},
        }
        chances, energy = predict.softmax(logits)[0], float(predict.log_sum(logits)[0])
        expected = rules.decide(wanted, rules.Evidence(np.arange(6), chances, energy))
        found = predict.decide(thresholds, chances, energy)
        assert (found["kind"], found["group"], found["rule"], tuple(found["members"]), found["reason"]) == (
            expected.kind,
            expected.group,
            expected.rule,
            expected.members,
            expected.reason,
        )
        assert not predict.needs_index(thresholds)
        kinds.add(expected.kind)
    assert kinds == set(rules.KINDS)


def test_nothing_of_the_package_or_torch_is_named_at_the_top_of_predict_py(checkout: Path) -> None:
    lines = (checkout / "lib/shelfmark/export/predict.py").read_text().splitlines()
    named = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert named == {
        *(
            "__future__",
            "argparse",
            "functools",
            "hashlib",
            "io",
            "json",
            "sys",
            "collections",
            "pathlib",
            "typing",
            "warnings",
        ),
        *("numpy", "PIL"),
    }
