"""iNaturalist 2018 as PSS divides it (Cao et al., ECCV 2022): known species, partly labelled, and unknown ones.

lin_train_set1.txt         labelled pictures, of the known classes
uin_train_set1.txt         unlabelled pictures of the same classes
uout_train_set1.txt        unlabelled pictures of all other training classes
in_train_set1.txt          the first two together; not needed
train_set1.txt             all three together; takes the place of uin and uout
Inaturalist_test_set1.txt  the test, of classes that are in none of them

A line is a picture's path, train_val2018/<kind>/<species>/<image>.jpg; kind and species are the class. A picture's part
is told by the list that it stands in, never by its place there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import counted
from shelfmark.data.converters.inaturalist import PICTURES, species_pictures
from shelfmark.data.converters.pictures import (
    NUM_SHOWN,
    Counts,
    Picture,
    class_groups,
    class_names,
    count_notes,
    first_of,
    require_pictures,
    role_record,
)
from shelfmark.data.converters.prepared import Prepared, existing_folder, write_new
from shelfmark.data.documents import annotations_json

LABELLED, KNOWN, NEW, ALL = "lin_train_set1", "uin_train_set1", "uout_train_set1", "train_set1"
TEST = "Inaturalist_test_set1"
WHERE = (
    "Download train_val2018.tar.gz of iNaturalist 2018 from github.com/visipedia/inat_comp and unpack it to"
    f" train_val2018/; take {LABELLED}.txt, {KNOWN}.txt, {NEW}.txt (or {ALL}.txt for both) and {TEST}.txt, which PSS"
    " in github.com/dmlc/dgl links to, beside it; and give the folder that holds all this as --source."
)
PUBLISHED = {
    LABELLED: Counts(29_011, 948),
    KNOWN: Counts(18_403, 948),
    NEW: Counts(278_432, 4_742),
    TEST: Counts(136_093, 2_452),
}


def prepare_pss(source: Path, out: Path) -> Prepared:
    """Writes discovery.json to `out`: each picture's role is labelled, unlabelled or test, its class among all classes.

    An unlabelled picture has its class as true_category_id, which only the report of a discovery run reads. test.json
    has the test alone, for `shelfmark evaluate`.
    """
    lists, base = _places(existing_folder(Path(source)))
    parts = _parts(lists)
    _require_disjoint(parts, lists)
    everything = [picture for pictures in parts.values() for picture in pictures]
    require_pictures(base, everything, WHERE)
    names = class_names(everything)
    labels = {name: label for label, name in enumerate(names)}
    roles = {LABELLED: "labelled", KNOWN: "unlabelled", NEW: "unlabelled", TEST: "test"}
    records = (
        role_record(picture.path, labels[picture.name], roles[part])
        for part, pictures in parts.items()
        for picture in pictures
    )
    file = Path(out) / "discovery.json"
    test = Path(out) / "test.json"
    groups = class_groups(everything, names)
    write_new({file: annotations_json(records, len(names), names, groups), test: _test(parts[TEST])})
    told = ", ".join(f"{len(pictures):,} of {part}" for part, pictures in parts.items())
    return Prepared(
        files={
            file: f"{counted(len(everything), 'image')} in {counted(len(names), 'class')}: {told}",
            test: f"{counted(len(parts[TEST]), 'image')}, each searched among all the others",
        },
        options={"data.root": base, "discovery.annotations": file},
        notes=(*count_notes(parts, PUBLISHED), *_notes(parts)),
    )


def _places(source: Path) -> tuple[Path, Path]:
    """The folder of the lists and that of the pictures. The original keeps them in `<source>/Inaturalist`."""
    folders = (source, source / "Inaturalist", source / "Inat_dataset_splits")
    lists = next((one for one in folders if (one / f"{LABELLED}.txt").is_file()), None)
    if lists is None:
        raise UserError(f"{source} has no {LABELLED}.txt. {WHERE}")
    return lists, next((one for one in folders[:2] if (one / PICTURES).is_dir()), source)


def _parts(lists: Path) -> dict[str, list[Picture]]:
    """The pictures of the four parts. One in `train_set1` alone is known where its class has a labelled picture."""
    files = {name: lists / f"{name}.txt" for name in (LABELLED, KNOWN, NEW, ALL, TEST)}
    parts = {name: species_pictures(files[name], WHERE) for name in (LABELLED, TEST)}
    unlabelled = [name for name in (KNOWN, NEW) if files[name].is_file()]
    parts |= {name: species_pictures(files[name], WHERE) for name in unlabelled}
    if len(unlabelled) < 2 or files[ALL].is_file():
        _add_rest(parts, species_pictures(files[ALL], WHERE))
    return {name: parts.get(name, []) for name in (LABELLED, KNOWN, NEW, TEST)}


def _add_rest(parts: dict[str, list[Picture]], everything: Sequence[Picture]) -> None:
    """Puts the pictures of `everything` that are in no other list into the unlabelled parts."""
    listed = {picture.path for name, pictures in parts.items() if name != TEST for picture in pictures}
    known = {picture.name for picture in parts[LABELLED]}
    for picture in everything:
        if picture.path not in listed:
            parts.setdefault(KNOWN if picture.name in known else NEW, []).append(picture)


def _require_disjoint(parts: Mapping[str, Sequence[Picture]], lists: Path) -> None:
    part_of: dict[str, str] = {}
    twice: list[str] = []
    for part, pictures in parts.items():
        for picture in pictures:
            other = part_of.setdefault(picture.path, part)
            if other != part:
                twice.append(f"{picture.path} stands in {other}.txt and in {part}.txt")
    if twice:
        raise UserError(f"{lists}: {first_of(twice)}. {WHERE}")
    classes = {part: {picture.name for picture in pictures} for part, pictures in parts.items()}
    trained = classes[LABELLED] | classes[KNOWN] | classes[NEW]
    for what, shared in (
        (f"{TEST}.txt and in the training lists", classes[TEST] & trained),
        (f"{NEW}.txt and in {LABELLED}.txt", classes[NEW] & classes[LABELLED]),
    ):
        if shared:
            raise UserError(
                f"{lists}: {len(shared):,} classes are in {what}, which must have none in common:"
                f" {in_line(sorted(shared), NUM_SHOWN)}. {WHERE}"
            )


def _test(pictures: Sequence[Picture]) -> bytes:
    names = class_names(pictures)
    labels = {name: label for label, name in enumerate(names)}
    records = ({"category_id": labels[picture.name], "fpath": picture.path} for picture in pictures)
    return annotations_json(records, len(names), names, class_groups(pictures, names))


def _notes(parts: Mapping[str, Sequence[Picture]]) -> Iterator[str]:
    unknown = {picture.name for picture in parts[KNOWN]} - {picture.name for picture in parts[LABELLED]}
    if unknown:
        yield f"{KNOWN}: {len(unknown):,} of its classes have no labelled image, so they count as new ones."
