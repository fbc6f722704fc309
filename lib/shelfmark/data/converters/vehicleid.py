"""PKU VehicleID (Liu et al., CVPR 2016): vehicles seen by road cameras. An identity is a class.

    train_test_split/train_list.txt, test_list_{800,1600,2400}.txt: `image_id vehicle_id`, one line an image
    image/0000001.jpg: the pictures, by image_id

Two protocols are in use, and their scores lie far apart: each picture searched among all others of its list
(Smooth-AP and other ranking papers), and one random picture of each vehicle as the gallery, the others as queries, the
mean of ten draws (vehicle re-identification).
"""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.data.converters.pictures import NUM_SHOWN, Counts, Picture, count_notes, list_rows
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.retrieval_set import RetrievalSet, Search, prepare_retrieval

WHERE = (
    "Ask for VehicleID at www.pkuml.org (PKU VehicleID), unpack it, and give the folder that holds train_test_split/"
    " and image/ as --source."
)
TEST_SIZES = (800, 1600, 2400)
OTHER_PROTOCOL = (
    "vehicle re-identification has one random image of each vehicle as the gallery, the mean of ten draws: add"
    " --gallery-draws 10 to the command of the test."
)
PUBLISHED = {
    "train": Counts(110_178, 13_134),
    # Papers disagree about the number of images, because some count the queries alone.
    **{f"test_{size}": Counts(None, size) for size in TEST_SIZES},
}


def prepare_vehicleid(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train, val, val_retrieval and the tests to `out`.

    test_<size>.json: each picture searched among all others; the other protocol draws its galleries from the same file.
    """
    base = _base(existing_folder(Path(source)))
    lists = base / "train_test_split"
    train = _pictures(lists / "train_list.txt")
    tests = {f"test_{size}": _pictures(lists / f"test_list_{size}.txt") for size in TEST_SIZES}
    dataset = RetrievalSet(
        base=base,
        train=train,
        tests={name: Search(pictures) for name, pictures in tests.items()},
        where=WHERE,
        recall_at=(1, 5),
        notes=(*count_notes({"train": train, **tests}, PUBLISHED), OTHER_PROTOCOL),
    )
    return prepare_retrieval(dataset, Path(out), val_fraction, seed)


def _base(source: Path) -> Path:
    for base in (source, source / "VehicleID_V1.0"):
        if (base / "train_test_split").is_dir():
            return base
    raise UserError(f"{source} is not VehicleID: it has no folder train_test_split. {WHERE}")


def _pictures(file: Path) -> list[Picture]:
    rows = list_rows(file, ("image_id", "vehicle_id"), WHERE)
    wrong = [image_id for image_id, _ in rows if not image_id.isdecimal()]
    if wrong:
        raise UserError(
            f"{file}: {len(wrong)} image ids are no numbers, so that image/<seven digits>.jpg cannot be found:"
            f" {', '.join(wrong[:NUM_SHOWN])}."
        )
    return [Picture(f"image/{int(image_id):07d}.jpg", vehicle_id) for image_id, vehicle_id in rows]
