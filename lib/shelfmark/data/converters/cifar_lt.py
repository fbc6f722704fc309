"""Long-tailed CIFAR-10 and CIFAR-100 (Cui et al. 2019; Cao et al. 2019), from the files that torchvision downloads.

The training images of class i of C are thinned out to int(n_max * (1 / ratio)^(i / (C - 1))); the official test set
stays whole and balanced, and becomes val: the literature has no other, so it chooses the model on the images that it
reports on, and so does a run that keeps its best model. Legend: N images, C classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.wording import counted
from shelfmark.data.converters.cifar_files import HOME_PAGE, read_cifar
from shelfmark.data.converters.prepared import Prepared, existing_folder, new_pictures, refuse_to_replace, write_new
from shelfmark.data.documents import annotations_json
from shelfmark.data.images import decode_rgb
from shelfmark.data.sources.files import read_file

WHERE = f"Download the Python version from {HOME_PAGE}, and give the folder that holds it as --source."
_NO_VAL = (
    "val.json is the official test set, as in the literature: what a run chooses by it, such as best_model, is chosen"
    " on the images that it is scored on."
)


def prepare_cifar_lt(what: str, source: Path, out: Path, ratio: float = 100.0, seed: int = 0) -> Prepared:
    """Makes `out` complete by itself: PNG pictures, one folder a class, and train.json and val.json.

    what: `cifar10_lt` or `cifar100_lt`. source: holds the published folder or archive, or is that folder.
    ratio: the largest class's size over the smallest's; 1 keeps every image. seed: draws which images of a class
    stay. With the same seed, those of a greater ratio are among those of a smaller one.
    """
    cifar, out = read_cifar(what, existing_folder(Path(source))), Path(out)
    num_classes = len(cifar.class_names)
    parts = {"train": cifar.train, "test": cifar.test}
    rows = {
        "train": _drawn_rows(cifar.train.labels, num_classes, ratio, seed),
        "test": np.arange(len(cifar.test.labels)),
    }
    records = {name: _records(name, part.labels, rows[name], cifar.class_names) for name, part in parts.items()}
    files = {"train": out / "train.json", "test": out / "val.json"}
    contents = {
        files[name]: annotations_json(records[name], num_classes, cifar.class_names, cifar.groups) for name in parts
    }
    refuse_to_replace(contents)
    with new_pictures(out) as place_for:
        for name, part in parts.items():
            for record, row in zip(records[name], rows[name]):
                path, rgb = out / str(record["fpath"]), part.picture(row)
                if not _is_there(path, rgb):
                    Image.fromarray(rgb).save(place_for(path), format="PNG")
    write_new(contents)
    return Prepared(
        files={file: _content(parts[name].labels[rows[name]], num_classes) for name, file in files.items()},
        options={"data.root": out, "data.train_json": files["train"], "data.val_json": files["test"]},
        notes=(*cifar.notes, _NO_VAL),
    )


prepare_cifar10_lt = partial(prepare_cifar_lt, "cifar10_lt")
prepare_cifar100_lt = partial(prepare_cifar_lt, "cifar100_lt")


def longtail_counts(num_classes: int, largest: int, ratio: float) -> np.ndarray:
    """(C,) int64: the images that each class keeps, `largest` in the first, about `largest / ratio` in the last.

    Source: Cao et al. 2019, as their code rounds: down, in double precision.
    """
    if not ratio >= 1:
        raise UserError(f"--ratio {ratio:g} must be 1 or above: the largest class's size over the smallest's.")
    last = max(num_classes - 1, 1)
    counts = [int(largest * (1 / ratio) ** (label / last)) for label in range(num_classes)]
    if min(counts) < 1:
        raise UserError(
            f"--ratio {ratio:g} leaves {counts.count(0)} of {num_classes} classes without an image; the largest class"
            f" has {largest}, so give at most {largest}."
        )
    return np.array(counts, dtype=np.int64)


def _drawn_rows(labels: np.ndarray, num_classes: int, ratio: float, seed: int) -> np.ndarray:
    """The rows that stay, rising. Each class is shuffled on its own: a smaller count takes some of the same images."""
    sizes = np.bincount(labels, minlength=num_classes)
    counts = longtail_counts(num_classes, int(sizes.max()), ratio)
    if (sizes < counts).any():
        label = int(np.argmax(sizes < counts))
        raise UserError(
            f"class {label} has {sizes[label]} training images where the profile wants {counts[label]}: the files are"
            " not the published ones, whose classes are all of one size."
        )
    kept = [
        numpy_generator(seed, "cifar_lt", label).permutation(np.flatnonzero(labels == label))[:count]
        for label, count in enumerate(counts)
    ]
    return np.sort(np.concatenate(kept))


def _records(part: str, labels: np.ndarray, rows: np.ndarray, names: list[str]) -> list[dict[str, object]]:
    return [
        {"category_id": label, "fpath": f"{part}/{names[label]}/{row:05d}.png"}
        for row, label in zip(rows.tolist(), labels[rows].tolist())
    ]


def _is_there(path: Path, rgb: np.ndarray) -> bool:
    """Whether the picture exists already, compared by pixels: another version of the library writes other bytes."""
    if not path.exists():
        return False
    if not np.array_equal(decode_rgb(read_file(path), str(path)), rgb):
        raise UserError(f"{path} is there already and is another image. Give another --out.")
    return True


def _content(labels: np.ndarray, num_classes: int) -> str:
    counts = np.bincount(labels, minlength=num_classes)
    classes = counted(int(np.count_nonzero(counts)), "class")
    return f"{counted(len(labels), 'image')} in {classes}, {counts.min()} to {counts.max()} in each"
