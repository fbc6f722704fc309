"""Published retrieval data sets, each from a tiny tree of its own layout."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.converters import cars196, cub, inaturalist, inshop, products10k, sop, vehicleid
from shelfmark.data.converters.cars196 import prepare_cars196
from shelfmark.data.converters.cub import prepare_cub
from shelfmark.data.converters.inaturalist import prepare_inaturalist
from shelfmark.data.converters.inshop import prepare_inshop
from shelfmark.data.converters.pictures import Counts
from shelfmark.data.converters.prepared import Prepared
from shelfmark.data.converters.products10k import prepare_products10k
from shelfmark.data.converters.sop import prepare_sop
from shelfmark.data.converters.vehicleid import prepare_vehicleid
from shelfmark.data.table import Table

Converter = Callable[..., Prepared]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def lines(file: Path, *rows: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows))


def read(prepared: Prepared, name: str) -> Table:
    [file] = [file for file in prepared.files if file.name == f"{name}.json"]
    return read_annotations(file, Path(prepared.options["data.root"]))


def names_of(table: Table) -> set[str]:
    """The classes that have a picture, by name."""
    assert table.class_names is not None
    return {table.class_names[label] for label in np.unique(table.labels)}


# One tiny copy of each: ten training classes of three pictures, five test classes of two.


def sop_tree(root: Path, lists: str = "", pictures: str = "") -> Path:
    kinds = ["bicycle", "chair"]
    for part, first, last, num_images in (("train", 1, 10, 3), ("test", 11, 15, 2)):
        rows, image_id = ["image_id class_id super_class_id path"], 0
        for class_id in range(first, last + 1):
            kind = kinds[class_id % 2]
            for number in range(num_images):
                image_id += 1
                path = f"{kind}_final/{class_id:03d}_{number}.JPG"
                rows.append(f"{image_id} {class_id} {1 + class_id % 2} {path}")
                touch(root, pictures + path)
        lines(root / lists / f"Ebay_{part}.txt", *rows)
    return root


def cub_tree(root: Path) -> Path:
    rows = []
    for number in [*range(91, 101), *range(101, 106)]:
        for image in range(3 if number <= 100 else 2):
            path = f"{number:03d}.Bird_{number}/Bird_{image}_{number}.jpg"
            rows.append(f"{len(rows) + 1} {path}")
            touch(root, f"images/{path}")
    lines(root / "images.txt", *rows)
    return root


def inaturalist_tree(root: Path, in_front: str = "") -> Path:
    for part, first, last, num_images in (("train", 1, 10, 3), ("test", 11, 15, 2)):
        rows = []
        for species in range(first, last + 1):
            for image in range(num_images):
                path = f"train_val2018/{'Aves' if species % 2 else 'Plantae'}/{species}/{image}abc.jpg"
                rows.append(in_front + path)
                touch(root, path)
        lines(root / f"Inaturalist_{part}_set1.txt", *rows)
    return root


def inshop_tree(root: Path, where: str = "Eval", folder: str = "") -> Path:
    rows = []
    for item in range(1, 11):
        rows += [f"img/MEN/Denim/id_{item:08d}/0{image}_front.jpg id_{item:08d} train" for image in range(3)]
    for item in range(11, 16):
        rows.append(f"img/MEN/Denim/id_{item:08d}/01_front.jpg id_{item:08d} query")
        rows += [f"img/MEN/Denim/id_{item:08d}/0{image}_side.jpg id_{item:08d} gallery" for image in range(2)]
    touch(root, *(folder + row.split()[0] for row in rows))
    lines(root / where / "list_eval_partition.txt", str(len(rows)), "image_name item_id evaluation_status", *rows)
    return root


def vehicleid_tree(root: Path) -> Path:
    def rows(first: int, last: int, num_images: int) -> list[str]:
        ids = [(vehicle * 10 + image, vehicle) for vehicle in range(first, last + 1) for image in range(num_images)]
        touch(root, *(f"image/{image_id:07d}.jpg" for image_id, _ in ids))
        return [f"{image_id:07d} {vehicle}" for image_id, vehicle in ids]

    lists = root / "train_test_split"
    lines(lists / "train_list.txt", *rows(1, 10, 3))
    # Each larger test has the vehicles of the smaller.
    for size, last in ((800, 15), (1600, 17), (2400, 19)):
        lines(lists / f"test_list_{size}.txt", *rows(11, last, 4))
    return root


def cars_annotations(path_field: str, rows: list[tuple[str, int]]) -> np.ndarray:
    annotations = np.zeros((1, len(rows)), dtype=[(path_field, object), ("bbox_x1", object), ("class", object)])
    for column, (path, number) in enumerate(rows):
        annotations[0, column] = (path, np.uint8(1), np.uint8(number))
    return annotations


CAR_NAMES = np.array([[f"Car {number}" for number in range(1, 197)]], dtype=object)


def cars_rows() -> list[tuple[str, int]]:
    numbers = [number for number in range(89, 99) for _ in range(3)]
    numbers += [number for number in range(99, 104) for _ in range(2)]
    return [(f"{index:06d}.jpg", number) for index, number in enumerate(numbers, start=1)]


def cars_tree(root: Path) -> Path:
    rows = [(f"car_ims/{name}", number) for name, number in cars_rows()]
    touch(root, *(path for path, _ in rows))
    annotations = cars_annotations("relative_im_path", rows)
    savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": CAR_NAMES})
    return root


def cars_devkit_tree(root: Path, test_beside: bool = False) -> Path:
    parts = {"train": cars_rows()[0::2], "test": cars_rows()[1::2]}
    for part, rows in parts.items():
        touch(root, *(f"cars_{part}/{name}" for name, _ in rows))
    touch(root, "devkit/README.txt")
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": CAR_NAMES})
    savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": cars_annotations("fname", parts["train"])})
    test = (root if test_beside else root / "devkit") / "cars_test_annos_withlabels.mat"
    savemat(test, {"annotations": cars_annotations("fname", parts["test"])})
    return root


def cars_folder_tree(root: Path) -> Path:
    # Numbered by their names, so all 98 training classes must be there.
    for number in range(1, 104):
        touch(root, f"train/Car {number:03d}/1.jpg", f"test/Car {number:03d}/2.jpg")
    return root


TREES: dict[str, tuple[Callable[[Path], Path], Converter, Any]] = {
    "sop": (sop_tree, prepare_sop, sop),
    "cub": (cub_tree, prepare_cub, cub),
    "cars196": (cars_tree, prepare_cars196, cars196),
    "inshop": (inshop_tree, prepare_inshop, inshop),
    "inaturalist": (inaturalist_tree, prepare_inaturalist, inaturalist),
    "vehicleid": (vehicleid_tree, prepare_vehicleid, vehicleid),
}

each_set = pytest.mark.parametrize("name", list(TREES))


@each_set
def test_validation_classes_are_among_neither_training_nor_test_classes(name: str, tmp_path: Path) -> None:
    tree, prepare, _ = TREES[name]
    source, out = tree(tmp_path / "source"), tmp_path / "out"
    prepared = prepare(source, out, val_fraction=0.3, seed=1)
    train, unseen = (read(prepared, part) for part in ("train", "val_retrieval"))
    tests = [file.stem for file in prepared.files if file.stem.startswith("test")]
    tested = {one for test in tests for one in names_of(read(prepared, test))}
    assert (len(names_of(train)), len(names_of(unseen))) == (7, 3)
    assert names_of(train).isdisjoint(names_of(unseen))
    assert tested.isdisjoint(names_of(train) | names_of(unseen))
    # Labels are dense, and training sees every picture of its classes: retrieval alone chooses the checkpoint.
    assert train.num_classes == 7
    assert (len(train), len(unseen)) == (21, 9)
    assert not {*train.paths} & {*unseen.paths}
    assert not (out / "val.json").exists()
    assert "data.val_json" not in prepared.options
    assert prepared.options["data.root"] == source
    assert prepared.options["data.retrieval_json"] == out / "val_retrieval.json"
    assert prepared.options["eval.metric"] == "recall@1"


@each_set
def test_the_seed_decides_the_validation_classes(name: str, tmp_path: Path) -> None:
    tree, prepare, _ = TREES[name]
    source = tree(tmp_path / "source")
    drawn = [
        names_of(read(prepare(source, tmp_path / str(seed), val_fraction=0.3, seed=seed), "val_retrieval"))
        for seed in range(6)
    ]
    again = prepare(source, tmp_path / "again", val_fraction=0.3, seed=0)
    assert names_of(read(again, "val_retrieval")) == drawn[0]
    assert len({*map(frozenset, drawn)}) > 2
    for file in again.files:
        assert file.read_bytes() == (tmp_path / "0" / file.name).read_bytes()
    # Prepared once more nothing changes; with another seed nothing is replaced.
    prepare(source, tmp_path / "again", val_fraction=0.3, seed=0)
    with pytest.raises(UserError, match="there already, with other contents"):
        prepare(source, tmp_path / "again", val_fraction=0.3, seed=3)


@each_set
def test_without_validation_classes_training_has_all_of_its_classes(name: str, tmp_path: Path) -> None:
    tree, prepare, _ = TREES[name]
    prepared = prepare(tree(tmp_path / "source"), tmp_path / "out", val_fraction=0)
    assert len(names_of(read(prepared, "train"))) == 10
    assert len(read(prepared, "train")) == 30
    assert not (tmp_path / "out" / "val_retrieval.json").exists()
    assert "data.retrieval_json" not in prepared.options
    assert prepared.options["eval.metric"] == "none"
    assert any("no class is held out" in note for note in prepared.notes)
    if name not in ("inshop", "vehicleid"):
        # A test picture is searched among all the others.
        test = read(prepared, "test")
        assert (len(test), test.counts.tolist()) == (10, [2] * 5)
        assert np.asarray(test.is_query).all()
        assert np.asarray(test.is_gallery).all()


@each_set
def test_counts_that_are_not_the_published_ones_are_told_with_both(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, prepare, module = TREES[name]
    source = tree(tmp_path / "source")
    expected = module.PUBLISHED["train"]
    notes = prepare(source, tmp_path / "one").notes
    text = f"train: expected {expected.images:,} images in {expected.classes:,} classes, as published, but found 30"
    assert [note for note in notes if note.startswith(f"{text} images in 10 classes")]
    small = {"train": Counts(30, 10), "test": Counts(10, 5), "query": Counts(5, 5), "gallery": Counts(10, 5)}
    small |= {"test_800": Counts(None, 5), "test_1600": Counts(None, 7), "test_2400": Counts(None, 9)}
    monkeypatch.setattr(module, "PUBLISHED", {part: small[part] for part in module.PUBLISHED})
    assert not any("expected" in note for note in prepare(source, tmp_path / "two").notes)


@each_set
def test_what_is_no_whole_copy_or_no_fraction_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    tree, prepare, _ = TREES[name]
    out, source = tmp_path / "out", tree(tmp_path / "source")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"(is not|is missing).*(Download|Ask for|Get) .* as --source"):
        prepare(tmp_path / "empty", out)
    with pytest.raises(UserError, match=r"--source .*nowhere is not a folder"):
        prepare(tmp_path / "nowhere", out)
    with pytest.raises(UserError, match=r"0\.0001 of 10 training classes gives no validation class"):
        prepare(source, out, val_fraction=0.0001)
    with pytest.raises(UserError, match=r"--val-fraction 1 must lie from 0 to below 1"):
        prepare(source, out, val_fraction=1)
    picture = min(path for path in source.rglob("*") if path.suffix.lower() == ".jpg")
    picture.unlink()
    lost = picture.relative_to(source).as_posix()
    with pytest.raises(UserError, match=rf"lacks 1 of its \d+ images\. (Download|Ask for|Get)(.|\n)*{lost}"):
        prepare(source, out)
    assert not out.exists()


# Stanford Online Products


def test_sop_in_both_of_its_layouts_is_the_same_but_for_the_folder(tmp_path: Path) -> None:
    flat = prepare_sop(sop_tree(tmp_path / "flat"), tmp_path / "out1", val_fraction=0.3)
    base = sop_tree(tmp_path / "other" / "online_products", lists="Info_Files", pictures="images/")
    nested = prepare_sop(tmp_path / "other", tmp_path / "out2", val_fraction=0.3)
    assert nested.options["data.root"] == base
    for part in ("train", "val_retrieval", "test"):
        one, two = read(flat, part), read(nested, part)
        assert [f"images/{path}" for path in one.paths] == list(two.paths)
        assert one.labels.tolist() == two.labels.tolist()
        assert one.class_names == two.class_names
    whole = prepare_sop(tmp_path / "flat", tmp_path / "whole", val_fraction=0)
    # Ordered as numbers.
    assert read(whole, "train").class_names == tuple(map(str, range(1, 11)))
    test = read(flat, "test")
    assert test.class_names == ("11", "12", "13", "14", "15")
    assert test.groups == ("chair", "bicycle", "chair", "bicycle", "chair")
    assert next(iter(test.paths)) == "chair_final/011_0.JPG"
    assert flat.options["eval.recall_at"] == "[1,10,100,1000]"
    assert "'eval.recall_at=[1,10,100,1000]'" in flat.summary or "eval.recall_at='[1,10,100,1000]'" in flat.summary


def test_validation_classes_of_sop_come_from_each_of_its_kinds(tmp_path: Path) -> None:
    source = sop_tree(tmp_path / "source")
    for seed in range(5):
        unseen = read(prepare_sop(source, tmp_path / str(seed), val_fraction=0.4, seed=seed), "val_retrieval")
        assert Counter(unseen.groups or ()) == {"bicycle": 2, "chair": 2}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1 1 1 a.jpg"], r"Ebay_test\.txt has no line `image_id \.\.\.`"),
        (["image_id class_id super_class_id path"], "it is empty"),
        (["image_id class_id super_class_id path", "1 11 1 x.JPG", "2 12"], r"1 lines are not(.|\n)*line 3: 2 12"),
        (["image_id class_id super_class_id path", "1 1 2 chair_final/001_0.JPG"], r"1 classes are in both .*: 1\."),
        (["image_id class_id super_class_id path", "1 99 2 ../x.JPG"], "leads out of its folder"),
        (
            ["image_id class_id super_class_id path", "1 98 2 chair_final/011_0.JPG", "1 99 2 chair_final/011_0.JPG"],
            "listed in two classes, '98' and '99'",
        ),
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    source = sop_tree(tmp_path / "source")
    lines(source / "Ebay_test.txt", *rows)
    with pytest.raises(UserError, match=message):
        prepare_sop(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    source = sop_tree(tmp_path / "source")
    (source / "Ebay_test.txt").write_bytes(b"image_id\xff")
    with pytest.raises(UserError, match=r"Ebay_test\.txt is not UTF-8 text"):
        prepare_sop(source, tmp_path / "out")
    (source / "Ebay_test.txt").unlink()
    with pytest.raises(UserError, match=r"Ebay_test\.txt is missing\. Download Stanford_Online_Products\.zip"):
        prepare_sop(source, tmp_path / "out")


# CUB-200-2011


def test_cub_trains_on_the_classes_up_to_100(tmp_path: Path) -> None:
    cub_tree(tmp_path / "CUB_200_2011")
    prepared = prepare_cub(tmp_path, tmp_path / "out", val_fraction=0)
    assert names_of(read(prepared, "train")) == {f"{number:03d}.Bird_{number}" for number in range(91, 101)}
    assert names_of(read(prepared, "test")) == {f"{number:03d}.Bird_{number}" for number in range(101, 106)}
    assert next(iter(read(prepared, "test").paths)) == "images/101.Bird_101/Bird_0_101.jpg"


def test_cub_needs_the_number_of_each_class(tmp_path: Path) -> None:
    lines(cub_tree(tmp_path) / "images.txt", "1 Bird/a.jpg", "2 101.Bird/b.jpg")
    with pytest.raises(UserError, match=r"1 paths are not `<number>(.|\n)*Bird/a\.jpg"):
        prepare_cub(tmp_path, tmp_path / "out")
    lines(tmp_path / "images.txt", "2 101.Bird/b.jpg")
    with pytest.raises(UserError, match="lists no training image"):
        prepare_cub(tmp_path, tmp_path / "out")


# Cars-196


def test_cars_from_all_pictures_in_one_folder_and_from_the_devkit_are_the_same_cars(tmp_path: Path) -> None:
    one = prepare_cars196(cars_tree(tmp_path / "one"), tmp_path / "out1", val_fraction=0)
    assert read(one, "train").class_names == tuple(f"Car {number}" for number in range(89, 99))
    assert read(one, "test").class_names == tuple(f"Car {number}" for number in range(99, 104))
    assert next(iter(read(one, "test").paths)) == "car_ims/000031.jpg"
    for number, beside in enumerate((False, True)):
        source = cars_devkit_tree(tmp_path / f"devkit{number}", test_beside=beside)
        two = prepare_cars196(source, tmp_path / f"devkit_out{number}", val_fraction=0)
        assert read(two, "test").class_names == read(one, "test").class_names
        assert read(two, "test").counts.tolist() == [2] * 5
        assert {path.split("/")[0] for path in read(two, "test").paths} == {"cars_train", "cars_test"}


def test_cars_in_folders_are_numbered_by_their_names(tmp_path: Path) -> None:
    prepared = prepare_cars196(cars_folder_tree(tmp_path / "source"), tmp_path / "out", val_fraction=0)
    assert names_of(read(prepared, "train")) == {f"Car {number:03d}" for number in range(1, 99)}
    test = read(prepared, "test")
    assert names_of(test) == {f"Car {number:03d}" for number in range(99, 104)}
    # The parts of the archive do not matter: both have pictures of each class.
    assert test.counts.tolist() == [2] * 5
    touch(tmp_path / "source", "train/loose.jpg")
    with pytest.raises(UserError, match=r"loose\.jpg is in no class folder"):
        prepare_cars196(tmp_path / "source", tmp_path / "out2")


def test_cars_without_scipy_say_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = cars_tree(tmp_path / "source")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UserError, match=r"cars_annos\.mat needs the scipy package: pip install scipy"):
        prepare_cars196(source, tmp_path / "out")
    prepare_cars196(cars_folder_tree(tmp_path / "folders"), tmp_path / "out")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"class_names": CAR_NAMES}, "has no variable 'annotations'"),
        ({"class_names": CAR_NAMES, "annotations": cars_annotations("file", [("a", 1)])}, "no 'relative_im_path'"),
        (
            {
                "class_names": CAR_NAMES[:, :3],
                "annotations": cars_annotations("relative_im_path", [("a", 1), ("b", 4)]),
            },
            r"class must lie in 1\.\.3, .* found: 4\.",
        ),
    ],
)
def test_another_matlab_file_is_refused(tmp_path: Path, contents: dict[str, Any], message: str) -> None:
    savemat(tmp_path / "cars_annos.mat", contents)
    with pytest.raises(UserError, match=message):
        prepare_cars196(tmp_path, tmp_path / "out")


def test_a_file_that_is_no_matlab_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cars_annos.mat").write_text("<html>404</html>")
    with pytest.raises(UserError, match=r"cars_annos\.mat is not a Matlab file"):
        prepare_cars196(tmp_path, tmp_path / "out")
    (tmp_path / "cars_annos.mat").unlink()
    (cars_devkit_tree(tmp_path) / "devkit" / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(UserError, match=r"cars_test_annos_withlabels\.mat is missing"):
        prepare_cars196(tmp_path, tmp_path / "out")


# In-shop


@pytest.mark.parametrize(("where", "folder"), [("Eval", "Img/"), ("Anno", ""), ("", "")])
def test_inshop_queries_search_the_gallery_alone(tmp_path: Path, where: str, folder: str) -> None:
    prepared = prepare_inshop(inshop_tree(tmp_path / "source", where, folder), tmp_path / "out", val_fraction=0.3)
    test = read(prepared, "test")
    is_query, is_gallery = np.asarray(test.is_query), np.asarray(test.is_gallery)
    assert (is_query.sum(), is_gallery.sum()) == (5, 10)
    np.testing.assert_array_equal(is_query, ~is_gallery)
    assert all(path.endswith("01_front.jpg") for path, query in zip(test.paths, is_query) if query)
    assert sorted(test.labels[is_gallery]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert next(iter(test.paths)) == f"{folder}img/MEN/Denim/id_00000011/01_front.jpg"
    unseen = read(prepared, "val_retrieval")
    assert np.asarray(unseen.is_query).all()
    assert np.asarray(unseen.is_gallery).all()
    assert "test.json: 5 queries, 10 gallery images in 5 classes" in prepared.summary


def test_inshop_statuses_are_checked(tmp_path: Path) -> None:
    file = inshop_tree(tmp_path) / "Eval" / "list_eval_partition.txt"
    text = file.read_text()
    file.write_text(text.replace(" query", " probe"))
    with pytest.raises(UserError, match="must be one of train, query, gallery; found: probe"):
        prepare_inshop(tmp_path, tmp_path / "out")
    file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.endswith("query\n")))
    with pytest.raises(UserError, match="has no query image"):
        prepare_inshop(tmp_path, tmp_path / "out")


# iNaturalist


def test_inaturalist_classes_are_the_last_two_folders(tmp_path: Path) -> None:
    prepared = prepare_inaturalist(inaturalist_tree(tmp_path / "a"), tmp_path / "out1", val_fraction=0.2)
    test = read(prepared, "test")
    assert test.class_names == ("Aves/11", "Aves/13", "Aves/15", "Plantae/12", "Plantae/14")
    assert test.groups == ("Aves", "Aves", "Aves", "Plantae", "Plantae")
    # Lists with the author's folder in front, in a folder of their own, are the same lists.
    source = inaturalist_tree(tmp_path / "b", in_front="/data/someone/Inaturalist/")
    for part in ("train", "test"):
        (source / "Inat_dataset_splits").mkdir(exist_ok=True)
        name = f"Inaturalist_{part}_set1.txt"
        (source / name).rename(source / "Inat_dataset_splits" / name)
    prepare_inaturalist(source, tmp_path / "out2", val_fraction=0.2)
    assert (tmp_path / "out1" / "test.json").read_bytes() == (tmp_path / "out2" / "test.json").read_bytes()
    lines(source / "Inat_dataset_splits" / "Inaturalist_test_set1.txt", "1/a.jpg")
    with pytest.raises(UserError, match=r"1 paths are not `train_val2018/<kind>"):
        prepare_inaturalist(source, tmp_path / "out3")


# VehicleID


def test_vehicleid_has_a_test_for_each_size_and_names_its_other_protocol(tmp_path: Path) -> None:
    vehicleid_tree(tmp_path / "VehicleID_V1.0")
    prepared = prepare_vehicleid(tmp_path, tmp_path / "out", val_fraction=0.3)
    for size, vehicles in ((800, 5), (1600, 7), (2400, 9)):
        everyone = read(prepared, f"test_{size}")
        assert (len(everyone), everyone.num_classes) == (4 * vehicles, vehicles)
        assert np.asarray(everyone.is_query).all()
        assert np.asarray(everyone.is_gallery).all()
    assert len(list(prepared.files)) == 2 + 3
    assert any("add --gallery-draws 10" in note for note in prepared.notes)


def test_vehicleid_needs_image_numbers_and_all_of_its_lists(tmp_path: Path) -> None:
    source = vehicleid_tree(tmp_path / "source")
    lines(source / "train_test_split" / "train_list.txt", "a 1")
    with pytest.raises(UserError, match=r"1 image ids are no numbers.*: a\."):
        prepare_vehicleid(source, tmp_path / "out")
    vehicleid_tree(source)
    (source / "train_test_split" / "test_list_1600.txt").unlink()
    with pytest.raises(UserError, match=r"test_list_1600\.txt is missing\. Ask for VehicleID"):
        prepare_vehicleid(source, tmp_path / "out")


# Products-10K


def products_tree(root: Path, labels: bool = True, doubled: str = "") -> Path:
    rows = [f"{number}.jpg,{100 + number % 4},{number % 2}" for number in range(20)]
    lines(root / "train.csv", "name,class,group", *rows)
    touch(root, *(f"train/{doubled}{number}.jpg" for number in range(20)))
    touch(root, *(f"test/{number}.jpg" for number in range(6)))
    if labels:
        rows = [f"{number}.jpg,{100 + number % 3},{number % 2},Public" for number in range(6)]
        lines(root / "test_kaggletest.csv", "name,class,group,Usage", *rows)
    else:
        lines(root / "test.csv", "name", *(f"{number}.jpg" for number in range(6)))
    return root


def test_products10k_keeps_its_classes_and_groups_in_every_part(tmp_path: Path) -> None:
    source, out = products_tree(tmp_path / "source"), tmp_path / "out"
    # The list for submissions does not hide the one with labels.
    lines(source / "test.csv", "name", "0.jpg")
    prepared = prepare_products10k(source, out, val_fraction=0.2, seed=0)
    train, val, labelled = (read(prepared, name) for name in ("train", "val", "test_labelled"))
    assert train.counts.tolist() == [4, 4, 4, 4]
    assert val.counts.tolist() == [1, 1, 1, 1]
    assert not {*train.paths} & {*val.paths}
    assert labelled.labels.tolist() == [0, 1, 2, 0, 1, 2]
    for table in (train, val, labelled):
        assert table.class_names == ("100", "101", "102", "103")
        assert table.groups == ("0", "1", "0", "1")
    test = read_test_set(Path(prepared.options["data.test_json"]), Path(prepared.options["data.test_root"]))
    assert list(test.image_ids) == [f"{number}.jpg" for number in range(6)]
    search = read(prepared, "test_retrieval")
    assert (np.asarray(search.is_query).sum(), np.asarray(search.is_gallery).sum()) == (6, 20)
    assert all(path.startswith("test/") == query for path, query in zip(search.paths, np.asarray(search.is_query)))
    expected = products10k.PUBLISHED["train"]
    notes = "\n".join(prepared.notes)
    assert f"train: expected {expected.images:,} images in {expected.classes:,} classes" in notes
    assert "test: expected 55,376 images, as published, but found 6" in notes
    assert f"data.retrieval_json={out / 'test_retrieval.json'}" in notes


def test_products10k_without_test_labels_or_test(tmp_path: Path) -> None:
    source = products_tree(tmp_path / "source", labels=False, doubled="train/")
    prepared = prepare_products10k(source, tmp_path / "out")
    assert [file.name for file in prepared.files] == ["train.json", "val.json", "test.json"]
    assert next(iter(read(prepared, "train").paths)).startswith("train/train/")
    assert any("predicted but not scored" in note for note in prepared.notes)
    (source / "test.csv").unlink()
    prepared = prepare_products10k(source, tmp_path / "out2")
    assert [file.name for file in prepared.files] == ["train.json", "val.json"]
    assert any("there is no test.csv" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        ("train.csv", ["image,class", "0.jpg,1"], "has no column 'name'; it has: image, class"),
        ("train.csv", ["name,label", "0.jpg,1"], "must have the columns name, class and group"),
        ("train.csv", ["name,class,group", "0.jpg,,1", "1.jpg"], r"2 rows have no class: line 2, line 3\."),
        (
            "train.csv",
            ["name,class,group", "0.jpg,1,1", "99.jpg,1,1"],
            r"lacks 1 of its 2 images(.|\n)*train/99\.jpg",
        ),
        ("test_kaggletest.csv", ["name,class,group", "0.jpg,999,1"], "1 class that train.csv has no image of: 999"),
        ("test_kaggletest.csv", ["name,class,group"], "has no row"),
        ("test.csv", ["name", "77.jpg"], r"lacks 1 of its 1 images(.|\n)*test/77\.jpg"),
    ],
)
def test_a_damaged_products10k_copy_is_refused(tmp_path: Path, file: str, rows: list[str], message: str) -> None:
    source = products_tree(tmp_path / "source", labels=file != "test.csv")
    lines(source / file, *rows)
    with pytest.raises(UserError, match=message):
        prepare_products10k(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_products10k_refuses_a_folder_without_its_list_and_a_fraction_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv is missing\. Download"):
        prepare_products10k(tmp_path, tmp_path / "out")
    source = products_tree(tmp_path / "source")
    for fraction, message in ((0, "must lie between 0 and 1"), (0.001, "give none to val")):
        with pytest.raises(UserError, match=message):
            prepare_products10k(source, tmp_path / "out", val_fraction=fraction)
