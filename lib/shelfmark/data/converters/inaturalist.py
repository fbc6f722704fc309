"""iNaturalist 2018 in the retrieval split of Smooth-AP (Brown et al., ECCV 2020): species never seen in training.

Inaturalist_train_set1.txt, Inaturalist_test_set1.txt: a picture's path a line
train_val2018/<kind>/<species>/<image>.jpg: the pictures; kind and species are the class
"""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.data.converters.pictures import NUM_SHOWN, Counts, Picture, count_notes, list_rows
from shelfmark.data.converters.prepared import Prepared, existing_folder
from shelfmark.data.converters.retrieval_set import RetrievalSet, Search, prepare_retrieval

WHERE = (
    "Download train_val2018.tar.gz of iNaturalist 2018 from github.com/visipedia/inat_comp and unpack it to"
    " train_val2018/; take Inaturalist_train_set1.txt and Inaturalist_test_set1.txt, which"
    " github.com/Andrew-Brown1/Smooth_AP links to, beside it; and give the folder that holds all this as --source."
)
PUBLISHED = {"train": Counts(325_846, 5_690), "test": Counts(136_093, 2_452)}
PICTURES = "train_val2018/"


def prepare_inaturalist(source: Path, out: Path, val_fraction: float = 0.2, seed: int = 0) -> Prepared:
    """Writes train, val, val_retrieval and test to `out`; classes are `<kind>/<species>`, groups are the kinds."""
    source = existing_folder(Path(source))
    lists = source / "Inat_dataset_splits"
    lists = lists if lists.is_dir() else source
    train = species_pictures(lists / "Inaturalist_train_set1.txt", WHERE)
    test = species_pictures(lists / "Inaturalist_test_set1.txt", WHERE)
    dataset = RetrievalSet(
        base=source,
        train=train,
        tests={"test": Search(test)},
        where=WHERE,
        recall_at=(1, 4, 16, 32),
        notes=tuple(count_notes({"train": train, "test": test}, PUBLISHED)),
    )
    return prepare_retrieval(dataset, Path(out), val_fraction, seed)


def species_pictures(file: Path, where: str) -> list[Picture]:
    """The pictures that a list names; the class is `<kind>/<species>`, its group the kind. where: see `list_rows`."""
    # Copies of the lists differ in what stands before the archive's own folder.
    paths = [path[max(0, path.find(PICTURES)) :] for [path] in list_rows(file, ("path",), where)]
    wrong = [path for path in paths if path.count("/") < 2]
    if wrong:
        shown = "\n  ".join(wrong[:NUM_SHOWN])
        raise UserError(f"{file}: {len(wrong)} paths are not `{PICTURES}<kind>/<species>/<image>`:\n  {shown}")
    return [_picture(path) for path in paths]


def _picture(path: str) -> Picture:
    kind, species = path.split("/")[-3:-1]
    return Picture(path, f"{kind}/{species}", kind)
