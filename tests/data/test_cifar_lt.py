"""Long-tailed CIFAR from small files in the published format."""

from __future__ import annotations

import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from shelfmark.cli import main
from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.data.converters import cifar_files
from shelfmark.data.converters.cifar_lt import longtail_counts, prepare_cifar_lt
from shelfmark.data.images import decode_rgb

# The counts


@pytest.mark.parametrize(
    ("num_classes", "largest", "ratio", "total"),
    [
        (100, 500, 100, 10_847),
        (100, 500, 50, 12_608),
        (100, 500, 10, 19_573),
        (100, 500, 1, 50_000),
        (10, 5000, 100, 12_406),
        (10, 5000, 50, 13_996),
        (10, 5000, 10, 20_431),
        (10, 5000, 1, 50_000),
    ],
)
def test_the_profile_has_as_many_images_as_in_the_literature(
    num_classes: int, largest: int, ratio: float, total: int
) -> None:
    counts = longtail_counts(num_classes, largest, ratio)
    assert counts.sum() == total
    assert (counts[0], counts[-1]) == (largest, largest // ratio)
    assert (np.diff(counts) <= 0).all()


def test_a_profile_by_hand() -> None:
    # 8 * 4^-(i / 4) = 8, 5.66, 4, 2.83, 2
    assert longtail_counts(5, 8, 4).tolist() == [8, 5, 4, 2, 2]
    assert longtail_counts(1, 8, 4).tolist() == [8]


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.01, r"--ratio 0\.01 must be 1 or above"),
        (float("nan"), "must be 1 or above"),
        (9, r"--ratio 9 leaves 1 of 5 classes without an image; .* give at most 8"),
        (float("inf"), "leaves 4 of 5 classes"),
    ],
)
def test_a_ratio_that_cannot_be_is_refused(ratio: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        longtail_counts(5, 8, ratio)


# The files


def python_2_pickle(value: Any) -> bytes:
    """`value` as Python 2's cPickle, protocol 2, wrote it with numpy 1: the form of the published files."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, str):
        return b"T" + struct.pack("<i", len(value)) + value.encode("latin1")
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.uint8
    order = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R" + order
    shape = b"".join(map(_opcodes, value.shape)) + b"\x86"
    raw = _opcodes(value.tobytes().decode("latin1"))
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return array + b"(K\x01" + shape + kind + b"\x89" + raw + b"tb"


NAMES = ["apple", "aquarium_fish", "baby"]
PER_CLASS = 8


def pixels(num_images: int, first: int) -> np.ndarray:
    """(N, 3072): every image differs, in every plane, row and column."""
    values = np.arange(num_images)[:, None] * 7 + np.arange(3072)[None] * 3 + first
    return (values % 251).astype(np.uint8)


def hundred() -> dict[str, dict[str, Any]]:
    """CIFAR-100 in small: three classes of eight images, and two of each to test with."""
    labels = [2, 0, 1] * PER_CLASS
    return {
        "train": {
            "filenames": [f"{row}.png" for row in range(len(labels))],
            "batch_label": "training batch 1 of 1",
            "fine_labels": labels,
            "coarse_labels": [[1, 0, 1][label] for label in labels],
            "data": pixels(len(labels), 0),
        },
        "test": {"fine_labels": [0, 0, 1, 1, 2, 2], "coarse_labels": [1, 1, 0, 0, 1, 1], "data": pixels(6, 100)},
        "meta": {"fine_label_names": NAMES, "coarse_label_names": ["fish", "other"]},
    }


def write(folder: Path, files: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_bytes(python_2_pickle(value))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write(tmp_path / "source" / "cifar-100-python", hundred())
    return tmp_path / "source"


def test_the_published_names_and_sums_are_those_of_torchvision() -> None:
    for what, theirs in (("cifar10_lt", CIFAR10), ("cifar100_lt", CIFAR100)):
        ours = cifar_files._PUBLISHED[what]
        assert (ours.folder, ours.archive) == (theirs.base_folder, theirs.filename)
        assert ours.md5[ours.archive] == theirs.tgz_md5
        assert [[name, ours.md5[name]] for name in ours.train] == theirs.train_list
        assert [[ours.test, ours.md5[ours.test]]] == theirs.test_list
        meta = {"filename": ours.meta, "key": ours.names, "md5": ours.md5[ours.meta]}
        assert meta == theirs.meta


def test_cifar_100_becomes_pictures_and_annotations(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared = prepare_cifar_lt("cifar100_lt", source, out, ratio=4)
    train, val = (read_annotations(prepared.options[f"data.{name}_json"], out) for name in ("train", "val"))
    # 8 * 4^-(i / 2) = 8, 4, 2
    assert train.counts.tolist() == [8, 4, 2]
    assert val.counts.tolist() == [2, 2, 2]
    assert train.class_names == val.class_names == tuple(NAMES)
    assert train.groups == ("other", "fish", "other")
    for table, part, name in ((train, "train", "train"), (val, "test", "test")):
        rows = [int(Path(path).stem) for path in table.paths]
        assert rows == sorted(set(rows))
        for index, row in enumerate(rows):
            label = hundred()[part]["fine_labels"][row]
            assert table.labels[index] == label
            assert table.paths[index] == f"{name}/{NAMES[label]}/{row:05d}.png"
            planes = hundred()[part]["data"][row].reshape(3, 32, 32)
            np.testing.assert_array_equal(
                decode_rgb(table.path(index).read_bytes(), "a picture"), np.moveaxis(planes, 0, 2)
            )
    assert len(list(out.rglob("*.png"))) == 14 + 6
    assert not list(out.rglob("*.part"))
    assert "14 images in 3 classes, 2 to 8 in each" in prepared.summary
    assert "val.json is the official test set" in prepared.summary
    assert sum("is not the published file (MD5" in note for note in prepared.notes) == 3


def test_the_published_files_are_not_noted(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar_files.hashlib, "md5", _FixedMd5)
    assert len(prepare_cifar_lt("cifar100_lt", source, tmp_path / "out", ratio=1).notes) == 1


class _FixedMd5:
    """Gives the published sum of the file whose pickle it gets."""

    def __init__(self, content: bytes, usedforsecurity: bool = True) -> None:
        name = next(name for name, value in hundred().items() if python_2_pickle(value) == content)
        self.sum = cifar_files._PUBLISHED["cifar100_lt"].md5[name]

    def hexdigest(self) -> str:
        return self.sum


def test_the_archive_and_the_folder_itself_are_read_too(source: Path, tmp_path: Path) -> None:
    prepare_cifar_lt("cifar100_lt", source, tmp_path / "a", ratio=4)
    prepare_cifar_lt("cifar100_lt", source / "cifar-100-python", tmp_path / "b", ratio=4)
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "cifar-100-python.tar.gz", "w:gz") as archive:
        archive.add(source / "cifar-100-python", "cifar-100-python")
    prepare_cifar_lt("cifar100_lt", packed, tmp_path / "c", ratio=4)
    assert [path.name for path in packed.iterdir()] == ["cifar-100-python.tar.gz"]
    for name in ("train.json", "val.json"):
        assert len({(tmp_path / out / name).read_bytes() for out in "abc"}) == 1


def test_files_that_python_3_wrote_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "cifar-100-python"
    write(folder, hundred())
    for name, value in hundred().items():
        (folder / name).write_bytes(pickle.dumps(value))
    assert prepare_cifar_lt("cifar100_lt", folder, tmp_path / "out", ratio=1).files


def test_cifar_10_has_five_files_and_no_groups(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "cifar-10-batches-py"
    batches = {f"data_batch_{number}": {"labels": [0, 1], "data": pixels(2, 10 * number)} for number in range(1, 6)}
    test = {"labels": [1], "data": pixels(1, 99)}
    meta = {"num_cases_per_batch": 2, "label_names": ["airplane", "automobile"], "num_vis": 3072}
    write(folder, {**batches, "test_batch": test, "batches.meta": meta})
    out = tmp_path / "out"
    prepare_cifar_lt("cifar10_lt", tmp_path / "source", out, ratio=5)
    train = read_annotations(out / "train.json", out)
    assert train.counts.tolist() == [5, 1]
    assert train.groups is None
    # Rows count on from file to file: the third file's images are rows 4 and 5.
    np.testing.assert_array_equal(
        decode_rgb((out / "train" / "airplane" / "00004.png").read_bytes(), "a picture"),
        np.moveaxis(pixels(2, 30)[0].reshape(3, 32, 32), 0, 2),
    )


# The draw


def drawn(source: Path, out: Path, ratio: float, seed: int) -> set[str]:
    prepare_cifar_lt("cifar100_lt", source, out, ratio=ratio, seed=seed)
    return set(read_annotations(out / "train.json", out).paths)


def test_the_seed_draws_the_images_and_greater_ratios_draw_among_them(source: Path, tmp_path: Path) -> None:
    few, many = drawn(source, tmp_path / "few", 8, 1), drawn(source, tmp_path / "many", 2, 1)
    assert few < many
    assert drawn(source, tmp_path / "again", 8, 1) == few
    assert drawn(source, tmp_path / "other", 8, 2) != few
    assert drawn(source, tmp_path / "all", 1, 1) == drawn(source, tmp_path / "all too", 1, 2)


# What is wrong


def test_running_again_changes_nothing_and_another_profile_needs_another_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_cifar_lt("cifar100_lt", source, out, ratio=4)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    (out / "train.json").unlink()
    [gone] = [path for path in before if path.name == "00000.png" and path.parent.name == "apple"]
    gone.unlink()
    prepare_cifar_lt("cifar100_lt", source, out, ratio=4)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    assert after.keys() == before.keys()
    assert {path for path in before if after[path] != before[path]} == {out / "train.json", gone}
    with pytest.raises(UserError, match=r"train\.json: there already, with other contents"):
        prepare_cifar_lt("cifar100_lt", source, out, ratio=2)
    assert len(list(out.rglob("*.png"))) == 14 + 6


def test_another_picture_is_not_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_cifar_lt("cifar100_lt", source, out, ratio=1)
    (out / "train.json").unlink()
    picture = out / "train" / "baby" / "00000.png"
    picture.write_bytes((out / "train" / "baby" / "00003.png").read_bytes())
    with pytest.raises(UserError, match=r"00000\.png is there already and is another image"):
        prepare_cifar_lt("cifar100_lt", source, out, ratio=1)
    assert not (out / "train.json").exists()


def test_a_folder_without_the_files_says_what_to_download(source: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    said = (
        r"empty holds neither the folder cifar-100-python nor cifar-100-python\.tar\.gz\. Download"
        r" cifar-100-python\.tar\.gz \(MD5 eb9058c3a382ffc7106e4002c42a8d85\) from .*cifar\.html into .*empty"
    )
    with pytest.raises(UserError, match=said):
        prepare_cifar_lt("cifar100_lt", empty, tmp_path / "out")
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz \(MD5 c58f"):
        prepare_cifar_lt("cifar10_lt", source, tmp_path / "out")
    (source / "cifar-100-python" / "test").unlink()
    with pytest.raises(UserError, match=r"cifar-100-python lacks test\. Download"):
        prepare_cifar_lt("cifar100_lt", source, tmp_path / "out")
    with pytest.raises(UserError, match="is not a folder"):
        prepare_cifar_lt("cifar100_lt", tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("length", [0, 20, 500])
def test_an_archive_cut_short_says_what_to_download(source: Path, tmp_path: Path, length: int) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    path = packed / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(source / "cifar-100-python", "cifar-100-python")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"cannot be read to the end.*Download cifar-100-python\.tar\.gz"):
        prepare_cifar_lt("cifar100_lt", packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Malicious:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("touched"),)  # type: ignore[return-value]


def test_a_malicious_file_is_refused_and_runs_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (source / "cifar-100-python" / "meta").write_bytes(pickle.dumps({"fine_label_names": Malicious()}))
    with pytest.raises(UserError, match=r"meta names pathlib.*could run foreign code"):
        prepare_cifar_lt("cifar100_lt", source, tmp_path / "out")
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("train", "data", pixels(24, 0)[:, :3071].copy(), r"'data' is not an array \(N, 3072\) of bytes"),
        ("train", "data", [1, 2], r"'data' is not an array \(N, 3072\) of bytes"),
        ("train", "data", pixels(23, 0), r"has 23 images but 24 'fine_labels'"),
        ("train", "fine_labels", [0, 1, "2"] * 8, r"no list of labels 'fine_labels'; it has: filenames"),
        ("train", "fine_labels", [0, 1, 3] * 8, r"has the label 3, but meta names 3 classes"),
        ("train", "fine_labels", [0, 1, 1] * 8, r"are of 2 classes; there are 3 class names"),
        ("train", "fine_labels", [0] * 16 + [1] * 6 + [2] * 2, r"class 1 has 6 training images .* wants 8"),
        ("train", "coarse_labels", [2] * 24, "coarse labels go to 2; there are 2 names"),
        ("meta", "fine_label_names", ["apple", "../x", "baby"], r"can be folders; \['\.\./x'\] cannot"),
        ("meta", "fine_label_names", ["apple", "apple", "baby"], "must be different names"),
        ("meta", "fine_label_names", [], "has no list of names 'fine_label_names'"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_anything_is_written(
    source: Path, tmp_path: Path, file: str, key: str, value: object, said: str
) -> None:
    changed = {name: dict(content) for name, content in hundred().items()}
    changed[file][key] = value
    write(source / "cifar-100-python", changed)
    with pytest.raises(UserError, match=said):
        prepare_cifar_lt("cifar100_lt", source, tmp_path / "out", ratio=4)
    assert not (tmp_path / "out").exists()


def test_the_command_prepares_what_the_recipe_trains_on(
    source: Path, tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "cifar100_lt", "--source", str(source), "--ratio", "4", "--seed", "3"]) == 0
    assert (tmp_path / "dataset" / "cifar100_lt" / "train.json").is_file()
    recipe = str(checkout / "configs" / "longtail" / "cifar100_lt.yaml")
    small = ["train.batch_size=4", "eval.batch_size=4", "data.num_workers=0"]
    assert main(["train", "--config", recipe, "--dry-run", *small]) == 0
    assert not (tmp_path / "log").exists()
