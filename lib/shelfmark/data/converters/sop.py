"""Stanford Online Products (Oh Song et al., CVPR 2016): 22,634 products of online shops in 12 kinds.

    Ebay_train.txt, Ebay_test.txt: `image_id class_id super_class_id path`, one line an image below a header

In the published archive the lists lie beside the folders of pictures; in the layout of several papers' code they lie
in Info_Files/ and the pictures in images/.
"""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.data.converters.pictures import Counts, Picture, count_notes, list_rows
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.retrieval_set import RetrievalSet, Search, prepare_retrieval

WHERE = (
    "Download Stanford_Online_Products.zip from cvgl.stanford.edu/projects/lifted_struct, unpack it, and give the"
    " folder Stanford_Online_Products as --source."
)
PUBLISHED = {"train": Counts(59_551, 11_318), "test": Counts(60_502, 11_316)}

_COLUMNS = ("image_id", "class_id", "super_class_id", "path")


def prepare_sop(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train, val, val_retrieval and test to `out`; groups are the 12 kinds, classes the published ids."""
    base, lists, pictures = _layout(existing_folder(Path(source)))
    train = _pictures(lists / "Ebay_train.txt", pictures)
    test = _pictures(lists / "Ebay_test.txt", pictures)
    dataset = RetrievalSet(
        base=base,
        train=train,
        tests={"test": Search(test)},
        where=WHERE,
        recall_at=(1, 10, 100, 1000),
        notes=tuple(count_notes({"train": train, "test": test}, PUBLISHED)),
    )
    return prepare_retrieval(dataset, Path(out), val_fraction, seed)


def _layout(source: Path) -> tuple[Path, Path, str]:
    """data.root, the folder of the lists, and what the listed paths need in front of them."""
    for base in (source, source / "Stanford_Online_Products", source / "online_products"):
        if (base / "Ebay_train.txt").is_file():
            return base, base, ""
        if (base / "Info_Files" / "Ebay_train.txt").is_file():
            return base, base / "Info_Files", "images/"
    raise UserError(
        f"{source} is not Stanford Online Products: it has neither Ebay_train.txt nor Info_Files/Ebay_train.txt."
        f" {WHERE}"
    )


def _pictures(file: Path, folder: str) -> list[Picture]:
    rows = list_rows(file, _COLUMNS, WHERE, header="image_id")
    return [Picture(folder + path, class_id, _kind(path)) for _, class_id, _, path in rows]


def _kind(path: str) -> str:
    return path.split("/", 1)[0].removesuffix("_final")
