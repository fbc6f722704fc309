"""Where bytes of pictures come from, and that nothing else in the package opens a picture."""

from __future__ import annotations

import ast
import dataclasses
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmark.data.images import read_rgb
from shelfmark.data.sources import FileSource, GivenSource, ImageSource, UnreadableImage

SOURCE = Path(__file__).parents[3] / "lib" / "shelfmark"

OPENERS = {
    ("Image", "open"),
    ("cv2", "imread"),
    ("cv2", "imdecode"),
    ("io", "read_image"),
    ("io", "decode_image"),
    ("image", "imread"),
    ("plt", "imread"),
}
# Beside the decoders, those who make data sets of other people's pictures.
MAY_OPEN = ("data/images.py", "data/jpeg.py", "data/converters/", "shop/", "export/predict.py")


def png(color: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), color).save(stream, "PNG")
    return stream.getvalue()


RED, BLUE = png((255, 0, 0)), png((0, 0, 255))


@pytest.fixture(params=["files", "memory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ImageSource:
    """A red picture, a blue one, and a file without a byte; none larger than 1,000 bytes is read."""
    contents = {"red.png": RED, "blue.png": BLUE, "empty.png": b"", "long.png": RED + bytes(1000)}
    if request.param == "memory":
        return GivenSource(list(contents), list(contents.values()), max_bytes=1000)
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return FileSource(list(contents), tmp_path, max_bytes=1000)


def test_a_source_gives_bytes_by_row_here_and_in_another_process(source: ImageSource) -> None:
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert len(one) == 4
        assert one.read(1) == BLUE
        assert Path(one.name(1)).name == "blue.png"
        np.testing.assert_array_equal(read_rgb(one, 0)[0, 0], [255, 0, 0])
        assert one.identity(0) != one.identity(1)


def test_what_a_source_refuses_has_its_name_and_a_reason_that_can_be_counted(source: ImageSource) -> None:
    for row, reason in ((2, "empty file"), (3, "more bytes than data.max_image_bytes")):
        with pytest.raises(UnreadableImage) as caught:
            source.read(row)
        assert (caught.value.path, caught.value.reason) == (source.name(row), reason)
    assert dataclasses.replace(source, max_bytes=len(BLUE)).read(1) == BLUE


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "huge.png").touch()
    # A hole in the disk: no memory would hold what reading gives.
    os.truncate(tmp_path / "huge.png", 1 << 42)
    with pytest.raises(UnreadableImage, match="more bytes than data.max_image_bytes"):
        FileSource(["huge.png"], tmp_path).read(0)


@pytest.mark.parametrize("path", ["a.png", "./a.png", "b/../a.png", ".//a.png", "{root}/a.png"])
def test_a_picture_is_itself_however_its_path_is_spelled(tmp_path: Path, path: str) -> None:
    source = FileSource([path.format(root=tmp_path), "b/a.png"], tmp_path)
    assert source.identity(0) == str(tmp_path / "a.png") != source.identity(1)
    assert FileSource(["a.png"]).identity(0) == str(Path.cwd() / "a.png")


def test_uploads_of_one_name_are_two_pictures_and_of_one_content_one() -> None:
    source = GivenSource(["a", "a", "b"], [RED, BLUE, RED])
    assert source.identity(0) != source.identity(1)
    assert source.identity(0) == source.identity(2)
    with pytest.raises(ValueError, match="1 names for 0 images"):
        GivenSource(["a"], [])
    with pytest.raises(TypeError, match="a Path or bytes, not str: 'a.jpg'"):
        GivenSource(["a"], ["a.jpg"])  # type: ignore[list-item]


def openers(text: str) -> list[str]:
    """Calls in a Python source that make a picture of a file or of bytes."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if (name, node.attr) in OPENERS:
                found.append(f"{name}.{node.attr}")
        if isinstance(node, ast.ImportFrom) and node.module in ("PIL.Image", "cv2", "torchvision.io"):
            found += [f"{node.module}.{one.name}" for one in node.names]
    return found


def test_nothing_else_opens_a_picture() -> None:
    found = {
        path: openers((SOURCE / path).read_text())
        for path in sorted(one.relative_to(SOURCE).as_posix() for one in SOURCE.rglob("*.py"))
    }
    assert {path for path, calls in found.items() if calls and not path.startswith(MAY_OPEN)} == set()
    # The search itself finds those that do.
    assert {"data/images.py", "data/jpeg.py"} <= {path for path, calls in found.items() if calls}
    assert openers("import PIL.Image\nPIL.Image.open('a')") == ["Image.open"]
    assert openers("from cv2 import imdecode") == ["cv2.imdecode"]
