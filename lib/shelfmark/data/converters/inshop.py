"""DeepFashion's In-shop Clothes Retrieval (Liu et al., CVPR 2016): customers' pictures search the shop's.

list_eval_partition.txt (in Eval/, Anno/ or beside the pictures): `image_name item_id evaluation_status`, one line
an image below the number of images and a header; the status is train, query or gallery
img/, or Img/img/: the pictures; image_name begins with img/
"""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.data.converters.pictures import NUM_SHOWN, Counts, Picture, count_notes, list_rows
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.retrieval_set import RetrievalSet, Search, prepare_retrieval

WHERE = (
    "Download list_eval_partition.txt and img.zip of the In-shop Clothes Retrieval Benchmark from"
    " mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html, unpack the images to img/, and give the folder that holds both"
    " as --source."
)
PUBLISHED = {"train": Counts(25_882, 3_997), "query": Counts(14_218, 3_985), "gallery": Counts(12_612, 3_985)}

_COLUMNS = ("image_name", "item_id", "evaluation_status")


def prepare_inshop(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train, val, val_retrieval and test to `out`; in test the queries search the gallery alone."""
    source = existing_folder(Path(source))
    file = _list(source)
    rows = list_rows(file, _COLUMNS, WHERE, header="image_name")
    parts: dict[str, list[Picture]] = {"train": [], "query": [], "gallery": []}
    wrong = sorted({status for *_, status in rows} - set(parts))
    if wrong:
        raise UserError(
            f"{file}: evaluation_status must be one of {', '.join(parts)}; found: {', '.join(wrong[:NUM_SHOWN])}."
        )
    folder = "" if (source / "img").is_dir() else "Img/"
    for name, item_id, status in rows:
        parts[status].append(Picture(folder + name, item_id))
    empty = [name for name, pictures in parts.items() if not pictures]
    if empty:
        raise UserError(f"{file} has no {empty[0]} image. {WHERE}")
    query, gallery = parts["query"], parts["gallery"]
    is_query = [True] * len(query) + [False] * len(gallery)
    dataset = RetrievalSet(
        base=source,
        train=parts["train"],
        tests={"test": Search([*query, *gallery], is_query, [not one for one in is_query])},
        where=WHERE,
        recall_at=(1, 10, 20, 30, 40, 50),
        notes=tuple(count_notes(parts, PUBLISHED)),
    )
    return prepare_retrieval(dataset, Path(out), val_fraction, seed)


def _list(source: Path) -> Path:
    name = "list_eval_partition.txt"
    for file in (source / name, source / "Eval" / name, source / "Anno" / name):
        if file.is_file():
            return file
    raise UserError(f"{source} is not In-shop Clothes Retrieval: it has no {name}, nor has its Eval/ or Anno/. {WHERE}")
