"""CIFAR-10 and CIFAR-100 as they are published: a few pickles in a folder, or that folder's archive.

Legend: N images, C classes.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.regular_files import read_regular
from shelfmark.data.pickles import read_pickle


@dataclass(frozen=True)
class CifarPart:
    """pixels: (N, 3072) uint8, each row the red, green and blue plane of 32 x 32. labels, groups: (N,) int64.

    groups: of the same length, or empty where the data set has none.
    """

    pixels: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def picture(self, row: int) -> np.ndarray:
        """(32, 32, 3) uint8 RGB."""
        return np.ascontiguousarray(self.pixels[row].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0))


@dataclass(frozen=True)
class Cifar:
    """A data set. groups: each class's, by name; empty for CIFAR-10. notes: which files are not the published ones."""

    class_names: list[str]
    groups: list[str]
    train: CifarPart
    test: CifarPart
    notes: list[str]


def read_cifar(what: str, source: Path) -> Cifar:
    """Reads the published folder or archive in `source`, or the files, where `source` is the published folder itself.

    what: `cifar10_lt` or `cifar100_lt`. UserError: a file is missing, damaged, or of another data set.
    """
    files = _Files(source, _PUBLISHED[what])
    names, groups = _names(files)
    train = _train_part(files, len(names))
    test = _part(files, files.published.test, len(names))
    return Cifar(names, _groups_of_classes(train, groups, len(names)), train, test, files.notes)


HOME_PAGE = "www.cs.toronto.edu/~kriz/cifar.html"
_SIDE = 32


@dataclass(frozen=True)
class _Published:
    """One data set as it is published. md5: of each file; the archive holds them in `folder`."""

    title: str
    folder: str
    archive: str
    md5: Mapping[str, str]
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    group_labels: str = ""
    groups: str = ""


_PUBLISHED = {
    "cifar10_lt": _Published(
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        md5={
            "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        labels="labels",
        names="label_names",
    ),
    "cifar100_lt": _Published(
        title="CIFAR-100",
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        md5={
            "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
        train=("train",),
        test="test",
        meta="meta",
        labels="fine_labels",
        names="fine_label_names",
        group_labels="coarse_labels",
        groups="coarse_label_names",
    ),
}


class _Files:
    """The published files by name, out of a folder or out of the archive, which is not unpacked.

    notes: about files that are not the published ones.
    """

    def __init__(self, source: Path, published: _Published) -> None:
        self.published = published
        self.notes: list[str] = []
        wanted = (*published.train, published.test, published.meta)
        folders = [folder for folder in (source / published.folder, source) if (folder / published.meta).is_file()]
        self.folder = folders[0] if folders else None
        self.archive = source / published.archive
        if self.folder is not None:
            missing = [name for name in wanted if not (self.folder / name).is_file()]
            if missing:
                raise UserError(f"{self.folder} lacks {', '.join(missing)}. {self._where_from(source)}")
        elif not self.archive.is_file():
            raise UserError(
                f"{source} holds neither the folder {published.folder} nor {published.archive}."
                f" {self._where_from(source)}"
            )

    def read(self, name: str) -> dict[str, Any]:
        """The content of the file `name`. UserError: it is damaged, or is not of this data set."""
        content = self._bytes(name)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 != self.published.md5[name]:
            self.notes.append(
                f"{self.place(name)} is not the published file (MD5 {md5}, published {self.published.md5[name]})."
            )
        value = read_pickle(io.BytesIO(content), self.place(name))
        if not isinstance(value, dict):
            raise UserError(f"{self.place(name)} holds no dict, so it is not of {self.published.title}.")
        return value

    def place(self, name: str) -> str:
        """The place of the file `name`, for messages."""
        return str(self.folder / name if self.folder is not None else f"{self.archive}:{self.published.folder}/{name}")

    def _bytes(self, name: str) -> bytes:
        if self.folder is not None:
            return read_regular(self.folder / name)
        try:
            with tarfile.open(self.archive, "r:gz") as archive:
                member = archive.extractfile(f"{self.published.folder}/{name}")
                if member is None:
                    raise KeyError(f"{self.published.folder}/{name} is not a file")
                return member.read()
        except (tarfile.TarError, zlib.error, EOFError, OSError, KeyError) as error:
            raise UserError(
                f"{self.archive} cannot be read to the end: {error}. {self._where_from(self.archive.parent)}"
            ) from error

    def _where_from(self, source: Path) -> str:
        archive = self.published.archive
        return f"Download {archive} (MD5 {self.published.md5[archive]}) from {HOME_PAGE} into {source}."


def _names(files: _Files) -> tuple[list[str], list[str]]:
    """The class names, which become folders, and the names of the groups of classes."""
    published = files.published
    meta, place = files.read(published.meta), files.place(published.meta)
    names = _texts(meta, published.names, place)
    bad = [name for name in names if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name]
    if bad or len(set(names)) != len(names):
        raise UserError(f"{place}: {published.names!r} must be different names that can be folders; {bad} cannot.")
    return names, _texts(meta, published.groups, place) if published.groups else []


def _texts(meta: Mapping[str, Any], key: str, place: str) -> list[str]:
    texts = meta.get(key)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{place} has no list of names {key!r}; it has: {', '.join(map(str, meta))}.")
    return texts


def _train_part(files: _Files, num_classes: int) -> CifarPart:
    batches = [_part(files, name, num_classes) for name in files.published.train]
    return CifarPart(
        np.concatenate([batch.pixels for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
        np.concatenate([batch.groups for batch in batches]),
    )


def _part(files: _Files, name: str, num_classes: int) -> CifarPart:
    published, content, place = files.published, files.read(name), files.place(name)
    pixels = content.get("data")
    width = 3 * _SIDE * _SIDE
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (width,):
        raise UserError(f"{place}: 'data' is not an array (N, {width}) of bytes, so it is not {published.title}.")
    labels = _labels(content, published.labels, len(pixels), place)
    if len(labels) and labels.max() >= num_classes:
        raise UserError(f"{place} has the label {labels.max()}, but {published.meta} names {num_classes} classes.")
    groups = _labels(content, published.group_labels, len(pixels), place) if published.group_labels else labels[:0]
    return CifarPart(pixels, labels, groups)


def _labels(content: Mapping[str, Any], key: str, num_images: int, place: str) -> np.ndarray:
    labels = content.get(key)
    if not isinstance(labels, list) or not all(type(label) is int and label >= 0 for label in labels):
        raise UserError(f"{place} has no list of labels {key!r}; it has: {', '.join(map(str, content))}.")
    if len(labels) != num_images:
        raise UserError(f"{place} has {num_images:,} images but {len(labels):,} {key!r}; download it again.")
    return np.array(labels, dtype=np.int64)


def _groups_of_classes(part: CifarPart, groups: list[str], num_classes: int) -> list[str]:
    """The name of each class's group: that of its first image."""
    if not groups:
        return []
    present, first = np.unique(part.labels, return_index=True)
    if len(present) != num_classes:
        raise UserError(f"the training images are of {len(present)} classes; there are {num_classes} class names.")
    of_class = part.groups[first]
    if of_class.max() >= len(groups):
        raise UserError(f"the training images' coarse labels go to {of_class.max()}; there are {len(groups)} names.")
    return [groups[group] for group in of_class]
