"""Caltech-UCSD Birds-200-2011 (Wah et al., 2011): 200 species. For retrieval the first 100 train, the others test.

    images.txt: `image_id path`, as `1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg`
    images/: a folder a class, named by its number and its name

The archive's own train_test_split.txt divides the pictures of each class; it is for classification and not used.
"""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.data.converters.pictures import NUM_SHOWN, Counts, Picture, count_notes, list_rows
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.retrieval_set import RetrievalSet, Search, prepare_retrieval

WHERE = (
    "Download CUB_200_2011.tgz from www.vision.caltech.edu/datasets/cub_200_2011, unpack it, and give the folder"
    " CUB_200_2011 as --source."
)
PUBLISHED = {"train": Counts(5_864, 100), "test": Counts(5_924, 100)}
NUM_TRAIN_CLASSES = 100


def prepare_cub(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train, val, val_retrieval and test to `out`; classes have their folder's name."""
    base = _base(existing_folder(Path(source)))
    rows = list_rows(base / "images.txt", ("image_id", "path"), WHERE)
    wrong = [path for _, path in rows if not path.split(".", 1)[0].isdecimal() or "/" not in path]
    if wrong:
        shown = "\n  ".join(wrong[:NUM_SHOWN])
        raise UserError(
            f"{base / 'images.txt'}: {len(wrong)} paths are not `<number>.<class>/<image>`; the number decides whether"
            f" a class trains:\n  {shown}"
        )
    parts: dict[str, list[Picture]] = {"train": [], "test": []}
    for _, path in rows:
        number = int(path.split(".", 1)[0])
        part = "train" if number <= NUM_TRAIN_CLASSES else "test"
        parts[part].append(Picture(f"images/{path}", path.split("/", 1)[0]))
    dataset = RetrievalSet(
        base=base,
        train=parts["train"],
        tests={"test": Search(parts["test"])},
        where=WHERE,
        recall_at=(1, 2, 4, 8, 16, 32),
        notes=tuple(count_notes(parts, PUBLISHED)),
    )
    return prepare_retrieval(dataset, Path(out), val_fraction, seed)


def _base(source: Path) -> Path:
    for base in (source, source / "CUB_200_2011"):
        if (base / "images.txt").is_file():
            return base
    raise UserError(f"{source} is not CUB-200-2011: it has no images.txt. {WHERE}")
