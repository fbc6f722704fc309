"""The shop: what is in it, that it never changes, and that it cannot be solved by colours alone."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

import shelfmark.shop as shop_package
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_json
from shelfmark.data.annotations import read_annotations
from shelfmark.shop import catalogue, class_counts, generate_shop, is_complete, picture, split_labels, writing
from shelfmark.shop.catalogue import LAYOUTS, Sku
from shelfmark.shop.icons import ICONS, draw_icon
from shelfmark.shop.labels import face_pixels
from shelfmark.shop.packs import Pose, pack_of
from shelfmark.shop.panel import Panel
from shelfmark.shop.pictures import _strangers
from shelfmark.shop.shapes import SHAPES
from shelfmark.shop.writing import ANNOTATION_SHA256

GENERATOR_SHA256 = "3bda960994e7f8f718e982a3a815cdc764add008198ddd7e88dcb24a20ead26f"
# Of some pictures: mean red, green, blue, then the mean of each quarter.
MEAN_COLOR = {
    "train/000000.jpg": (92.6, 96.7, 99.1, 91.6, 87.0, 107.9, 97.9),
    "train/002500.jpg": (106.7, 99.7, 87.4, 90.6, 69.0, 124.7, 107.5),
    "val/000100.jpg": (122.8, 125.0, 112.2, 147.7, 106.4, 128.8, 97.3),
    "test/000007.jpg": (50.4, 58.6, 65.3, 36.9, 79.7, 42.4, 73.5),
    "novel/000042.jpg": (182.3, 145.7, 149.3, 125.8, 140.9, 168.5, 201.3),
    "novel/000300.jpg": (132.3, 133.9, 94.2, 54.6, 57.9, 182.3, 186.0),
}
ALL_SKUS = catalogue(0).trained + catalogue(0).novel
FROZEN = (
    "The shop is frozen: figures in the documents were measured on these very pictures. A generator that draws or "
    "sorts anything else needs another name (shelfmark/shop/writing.py, NAME) and new figures. If the source "
    "changed but no picture and no annotation did, write the new hash here: {}"
)


@pytest.fixture(scope="module")
def shop(shop_root: Path) -> Path:
    return shop_root


def records(shop: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((shop / name).read_text())["annotations"]


def labels_of(shop: Path, name: str) -> np.ndarray:
    return np.array([record["category_id"] for record in records(shop, name)])


# --- what is in it ---


def test_each_set_has_its_pictures_and_no_others(shop: Path) -> None:
    named = {record["fpath"] for name in ("train.json", "val.json", "retrieval.json") for record in records(shop, name)}
    images = json.loads((shop / "test.json").read_text())["images"]
    named |= {f"test/{image['image_id']}" for image in images}
    found = {path.relative_to(shop).as_posix() for path in shop.rglob("*.jpg")}
    assert named == found
    assert len(found) == 4873 + 720 + 480 + 320


def test_val_test_and_novel_are_balanced(shop: Path) -> None:
    assert set(np.bincount(labels_of(shop, "val.json"), minlength=120)) == {6}
    assert set(np.bincount(split_labels(0, "test"), minlength=120)) == {4}
    assert set(np.bincount(labels_of(shop, "retrieval.json"), minlength=40)) == {8}


def test_the_training_set_has_a_long_tail(shop: Path) -> None:
    counts = np.bincount(labels_of(shop, "train.json"), minlength=120)
    np.testing.assert_array_equal(counts, class_counts(0))
    assert (counts.max(), counts.min()) == (150, 4)
    many, few = int((counts > 100).sum()), int((counts < 20).sum())
    assert (many, 120 - many - few, few) == (14, 53, 53)
    # Exponential: on a logarithmic scale the sorted counts fall by equal steps.
    steps = np.diff(np.log(np.sort(counts)[::-1][:60]))
    assert steps.mean() == pytest.approx(np.log(4 / 150) / 119, abs=1e-3)


def test_being_rare_has_nothing_to_do_with_the_family() -> None:
    counts, skus = class_counts(0), catalogue(0).trained
    families = {number: [] for number in range(24)}
    for count, sku in zip(counts, skus):
        families[sku.family.number].append(count)
    assert all(len(sizes) == 5 for sizes in families.values())
    mixed = [sizes for sizes in families.values() if min(sizes) < 20 and max(sizes) > 40]
    assert len(mixed) >= 18


def test_novel_skus_are_never_trained_and_never_stand_beside_a_trained_one() -> None:
    sold = catalogue(0)
    assert not {sku.name for sku in sold.novel} & {sku.name for sku in sold.trained}
    unknown_families = {sku.family.number for sku in sold.novel} - {sku.family.number for sku in sold.trained}
    assert len(unknown_families) == 4
    for family in range(28):
        strangers = _strangers(0, family)
        assert not set(strangers) & set(sold.novel)
        assert family not in {sku.family.number for sku in strangers}


def test_every_novel_sku_has_queries_and_a_gallery(shop: Path) -> None:
    found = records(shop, "retrieval.json")
    assert all(record["is_query"] != record["is_gallery"] for record in found)
    gallery = np.array([record["is_gallery"] for record in found])
    labels = labels_of(shop, "retrieval.json")
    assert set(np.bincount(labels[gallery], minlength=40)) == {3}
    assert set(np.bincount(labels[~gallery], minlength=40)) == {5}


def test_names_are_unique_and_groups_name_the_family(shop: Path) -> None:
    for name, count in (("train.json", 120), ("val.json", 120), ("retrieval.json", 40)):
        document = json.loads((shop / name).read_text())
        assert document["num_classes"] == len(set(document["class_names"])) == len(document["groups"]) == count
        assert all(full.startswith(group) for full, group in zip(document["class_names"], document["groups"]))


def test_the_order_of_files_tells_nothing_about_the_class(shop: Path) -> None:
    for split in ("train", "val", "test", "novel"):
        labels = split_labels(0, split)
        assert abs(np.corrcoef(labels, np.arange(len(labels)))[0, 1]) < 0.1
        assert np.mean(labels[1:] == labels[:-1]) < 0.06


def test_no_picture_occurs_twice(shop: Path) -> None:
    files = list(shop.rglob("*.jpg"))
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in files}) == len(files)


def test_the_annotations_pass_their_own_checker(shop: Path) -> None:
    for name in ("train.json", "val.json", "retrieval.json"):
        table = read_annotations(shop / name, shop)
        assert len(table) == len(records(shop, name))


# --- how it is drawn ---


def siblings() -> list[list[Sku]]:
    families: dict[int, list[Sku]] = {}
    for sku in ALL_SKUS:
        families.setdefault(sku.family.number, []).append(sku)
    return list(families.values())


@pytest.mark.parametrize("family", siblings(), ids=lambda family: family[0].family.name)
def test_members_of_a_family_differ_in_details_of_the_label_only(family: list[Sku]) -> None:
    shape = SHAPES[family[0].family.product.shape]
    faces = [face_pixels(sku).astype(int) for sku in family]
    top, bottom = (round(part * faces[0].shape[0]) for part in shape.label)
    for row, first in enumerate(faces):
        for second in faces[row + 1 :]:
            changed = (np.abs(first - second) > 40).any(axis=2)
            assert changed[top:bottom].mean() > 0.005
            assert changed[top:bottom].mean() < 0.35
            if "cap" not in family[0].family.cues:
                assert not changed[:top].any()
                assert not changed[bottom:].any()


@pytest.mark.parametrize("yaw_deg", [-38, 0, 20])
@pytest.mark.parametrize("pitch_deg", [-12, 0, 20])
def test_every_shape_is_drawn_whole_in_every_pose(yaw_deg: float, pitch_deg: float) -> None:
    for shape in SHAPES:
        sku = next(sku for sku in ALL_SKUS if sku.family.product.shape == shape)
        layer = pack_of(sku).posed(Pose(yaw_deg, pitch_deg, 0.5))
        alpha = layer[..., 3]
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not border.any(), f"{shape} is cut off"
        assert (alpha == 255).sum() > 3000
        # Premultiplied, but for one step of rounding.
        assert (layer[..., :3].astype(int) <= alpha[..., None].astype(int) + 1).all()


def test_a_turned_pack_shows_another_part_of_its_label() -> None:
    can = next(sku for sku in ALL_SKUS if sku.family.product.shape == "can")
    left, right = (pack_of(can).posed(Pose(yaw, 0, 0.0)).astype(int) for yaw in (-30, 30))
    assert np.abs(left - right).mean() > 4


@pytest.mark.parametrize("name", sorted(ICONS))
def test_every_icon_stays_near_its_circle(name: str) -> None:
    panel = Panel(120, 120, "#000000")
    draw_icon(panel, name, (60, 60), 40, "#ff8800")
    rows, columns = np.nonzero(panel.pixels().any(axis=2))
    assert len(rows) > 800
    assert np.hypot(rows - 60, columns - 60).max() < 62


def test_every_livery_flavour_and_picture_is_in_use() -> None:
    skus = ALL_SKUS
    assert {sku.family.layout for sku in skus} == set(LAYOUTS)
    assert {sku.flavour.icon for sku in skus} <= set(ICONS)
    assert {sku.family.product.shape for sku in skus} == set(SHAPES)


# --- that it is the same everywhere ---


def test_a_picture_depends_on_its_number_alone(shop: Path) -> None:
    # The fixture drew with two processes, in order; this is one process, out of order.
    for split, index in (("train", 4000), ("val", 7), ("train", 3), ("novel", 200), ("test", 0)):
        assert picture(0, split, index) == (shop / split / f"{index:06d}.jpg").read_bytes()


def test_another_seed_is_another_shop() -> None:
    assert [sku.name for sku in catalogue(1).trained] != [sku.name for sku in catalogue(0).trained]
    assert (class_counts(1) != class_counts(0)).any()
    assert sorted(class_counts(1)) == sorted(class_counts(0))
    assert picture(1, "val", 0) != picture(0, "val", 0)


def test_the_splits_are_frozen(shop: Path) -> None:
    found = {name: sha256_json(json.loads((shop / name).read_text())) for name in ANNOTATION_SHA256}
    assert found == ANNOTATION_SHA256, FROZEN.format(found)


def test_the_generator_is_frozen() -> None:
    folder = Path(shop_package.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    assert digest.hexdigest() == GENERATOR_SHA256, FROZEN.format(digest.hexdigest())


def test_the_pictures_are_frozen(shop: Path) -> None:
    # With a tolerance: another JPEG or SIMD library may differ in the last bit.
    for name, color in MEAN_COLOR.items():
        pixels = cv2.imread(str(shop / name))[..., ::-1]
        quarters = [part.mean() for half in np.array_split(pixels, 2) for part in np.array_split(half, 2, axis=1)]
        np.testing.assert_allclose([*pixels.mean(axis=(0, 1)), *quarters], color, atol=1.0, err_msg=name)


# --- how hard it is ---


def test_a_linear_classifier_on_thumbnails_stays_under_a_quarter(shop: Path) -> None:
    features, labels = thumbnails(shop, "train.json")
    held_out, truth = thumbnails(shop, "val.json")
    mean, scale = features.mean(0), features.std(0)
    weight, bias = logistic_regression((features - mean) / scale, labels, penalty=3e-4)
    correct = (((held_out - mean) / scale) @ weight + bias).argmax(1) == truth
    # 0.1: it has learned something, so the bound above it means something; chance is 0.8%.
    assert 0.1 < correct.float().mean() < 0.25


def thumbnails(shop: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 192) 8 x 8 RGB pictures and (N,) labels."""
    pixels = [
        cv2.resize(cv2.imread(str(shop / record["fpath"])), (8, 8), interpolation=cv2.INTER_AREA).ravel()
        for record in records(shop, name)
    ]
    return torch.tensor(np.stack(pixels), dtype=torch.float32), torch.from_numpy(labels_of(shop, name))


def logistic_regression(
    features: torch.Tensor, labels: torch.Tensor, penalty: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Multinomial, with the L2 penalty that did best on val among 1e-2, 3e-3 ... 1e-5."""
    weight = torch.zeros(features.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(features @ weight + bias, labels) + penalty * weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


# --- the folder ---


def few_tasks(seed: int) -> list[tuple[str, int, int]]:
    return [("train", 0, 2), ("val", 0, 1)]


def test_a_shop_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(writing, "_write_some", fail)
    with pytest.raises(OSError, match="no space"):
        generate_shop(tmp_path / "shop", num_workers=1)
    assert list(tmp_path.iterdir()) == []


def test_one_process_draws_where_no_others_can_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise BrokenProcessPool("a process ended abruptly")

    monkeypatch.setattr(writing, "_write_in_processes", broken)
    monkeypatch.setattr(writing, "_tasks", few_tasks)
    generate_shop(tmp_path / "shop", num_workers=2)
    assert sorted(path.name for path in (tmp_path / "shop").rglob("*.jpg")) == [
        "000000.jpg",
        "000000.jpg",
        "000001.jpg",
    ]
    assert (tmp_path / "shop" / "train" / "000001.jpg").read_bytes() == picture(0, "train", 1)


def test_a_folder_that_is_not_a_shop_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a generated shop, so it is not replaced"):
        generate_shop(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_an_older_shop_or_one_with_a_picture_missing_is_not_complete(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_complete(shop)
    assert not is_complete(tmp_path / "nothing")
    monkeypatch.setattr(writing, "_tasks", few_tasks)
    generate_shop(tmp_path / "part", num_workers=1)
    assert not is_complete(tmp_path / "part")
    monkeypatch.setattr(writing, "NAME", "shop-2")
    assert not is_complete(shop)


def test_an_incomplete_shop_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_tasks", few_tasks)
    generate_shop(tmp_path / "shop", num_workers=1)
    (tmp_path / "shop" / "val" / "000000.jpg").unlink()
    generate_shop(tmp_path / "shop", seed=3, num_workers=1)
    assert (tmp_path / "shop" / "val" / "000000.jpg").read_bytes() == picture(3, "val", 0)
