"""Cars-196 (Krause et al., 2013): 196 car models. For retrieval the first 98 train, the others test, whatever the
archive's own train and test parts, which divide the pictures of each class.

Three layouts are known:
    cars_annos.mat and car_ims/000001.jpg                        all pictures in one folder
    cars_train/, cars_test/ and devkit/ with cars_meta.mat, cars_train_annos.mat, cars_test_annos_withlabels.mat
    train/<class>/<image>, test/<class>/<image>                  classes numbered in the order of their names
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.data.converters.pictures import NUM_SHOWN, Counts, Picture, count_notes
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.retrieval_set import RetrievalSet, Search, prepare_retrieval
from shelfmark.data.image_files import image_paths

WHERE = (
    "Get car_ims.tgz and cars_annos.mat (ai.stanford.edu/~jkrause/cars/car_dataset.html; the page may be gone, copies"
    " are common), unpack the images to car_ims/, and give the folder that holds both as --source. The folders"
    " cars_train/, cars_test/ and devkit/ will do, and so will train/<class>/ and test/<class>/."
)
PUBLISHED = {"train": Counts(8_054, 98), "test": Counts(8_131, 98)}
NUM_TRAIN_CLASSES = 98


def prepare_cars196(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train, val, val_retrieval and test to `out`. Reading .mat files needs the extra `datasets` (scipy)."""
    source = existing_folder(Path(source))
    numbered = _numbered(source)
    parts = {
        "train": [picture for number, picture in numbered if number <= NUM_TRAIN_CLASSES],
        "test": [picture for number, picture in numbered if number > NUM_TRAIN_CLASSES],
    }
    dataset = RetrievalSet(
        base=source,
        train=parts["train"],
        tests={"test": Search(parts["test"])},
        where=WHERE,
        recall_at=(1, 2, 4, 8, 16, 32),
        notes=tuple(count_notes(parts, PUBLISHED)),
    )
    return prepare_retrieval(dataset, Path(out), val_fraction, seed)


def _numbered(source: Path) -> list[tuple[int, Picture]]:
    """Each picture with the number of its class, from 1."""
    if (source / "cars_annos.mat").is_file():
        names = _class_names(source / "cars_annos.mat")
        return _annotated(source / "cars_annos.mat", "relative_im_path", "", names)
    if (source / "devkit").is_dir():
        names = _class_names(source / "devkit" / "cars_meta.mat")
        train = source / "devkit" / "cars_train_annos.mat"
        test = source / "devkit" / "cars_test_annos_withlabels.mat"
        # This file was published later, so in many copies it lies beside devkit/.
        test = test if test.is_file() else source / test.name
        return _annotated(train, "fname", "cars_train/", names) + _annotated(test, "fname", "cars_test/", names)
    if (source / "train").is_dir() and (source / "test").is_dir():
        return _by_folder(source)
    raise UserError(f"{source} is not Cars-196: it has no cars_annos.mat, no devkit/, and no train/ and test/. {WHERE}")


def _class_names(file: Path) -> list[str]:
    return [str(name) for name in np.atleast_1d(_mat(file, "class_names"))]


def _annotated(file: Path, path_field: str, folder: str, names: Sequence[str]) -> list[tuple[int, Picture]]:
    annotations = np.atleast_1d(_mat(file, "annotations"))
    lacking = [field for field in (path_field, "class") if field not in (annotations.dtype.names or ())]
    if lacking:
        raise UserError(f"{file}: its annotations have no {lacking[0]!r}, so they are not the published ones. {WHERE}")
    paths, numbers = annotations[path_field].tolist(), [int(number) for number in annotations["class"]]
    wrong = sorted({number for number in numbers if not 1 <= number <= len(names)})
    if wrong:
        shown = ", ".join(map(str, wrong[:NUM_SHOWN]))
        raise UserError(
            f"{file}: class must lie in 1..{len(names)}, for so many class names there are; found: {shown}."
        )
    return [(number, Picture(f"{folder}{path}", names[number - 1])) for path, number in zip(paths, numbers)]


def _by_folder(source: Path) -> list[tuple[int, Picture]]:
    paths = [f"{part}/{path}" for part in ("train", "test") for path in image_paths(source / part)]
    loose = [path for path in paths if path.count("/") < 2]
    if loose:
        raise UserError(f"{source / loose[0]} is in no class folder; expected train/<class>/<image>. {WHERE}")
    # The published numbers follow the makers' names, and classes 1..98 are whole makers, so the first half of the
    # sorted names are the same classes.
    numbers = {name: number for number, name in enumerate(sorted({path.split("/")[1] for path in paths}), start=1)}
    return [(numbers[path.split("/")[1]], Picture(path, path.split("/")[1])) for path in paths]


def _mat(file: Path, variable: str) -> Any:
    if not file.is_file():
        raise UserError(f"{file} is missing. {WHERE}")
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError(
            f"{file} needs the scipy package: pip install scipy. Or give folders train/<class>/ and test/<class>/."
        ) from None
    try:
        contents = loadmat(file, squeeze_me=True)
    except Exception as error:
        raise UserError(f"{file} is not a Matlab file ({type(error).__name__}: {error}). {WHERE}") from error
    if variable not in contents:
        raise UserError(f"{file} has no variable {variable!r}, so it is not the published one. {WHERE}")
    return contents[variable]
