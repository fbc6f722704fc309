"""The shop: what is in it, that it never changes, and that its folder is whole, absent or somebody else's."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
import pytest
from shop_digest import generator_sha256

from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_json
from shelfmark.data.annotations import read_annotations
from shelfmark.shop import catalogue, class_counts, drawing, generate_shop, is_complete, picture, split_labels, writing
from shelfmark.shop.catalogue import LAYOUTS, Sku
from shelfmark.shop.icons import ICONS, draw_icon
from shelfmark.shop.labels import face_pixels
from shelfmark.shop.packs import Pose, pack_of
from shelfmark.shop.panel import Panel
from shelfmark.shop.pictures import _strangers
from shelfmark.shop.shapes import SHAPES
from shelfmark.shop.writing import ANNOTATION_SHA256

GENERATOR_SHA256 = "bfce67c93bb5c0737295efd3bc0d58b22f769fd6fde17f7375b26c4483d0bb45"
# Of some pictures: mean red, green, blue, then the mean of each quarter.
MEAN_COLOR = {
    "train/000000.jpg": (92.6, 96.7, 99.1, 91.6, 87.0, 107.9, 97.9),
    "train/002500.jpg": (106.7, 99.7, 87.4, 90.6, 69.0, 124.7, 107.5),
    "val/000100.jpg": (122.8, 125.0, 112.2, 147.7, 106.4, 128.8, 97.3),
    "test/000007.jpg": (50.4, 58.6, 65.3, 36.9, 79.7, 42.4, 73.5),
    "novel/000042.jpg": (182.3, 145.7, 149.3, 125.8, 140.9, 168.5, 201.3),
    "novel/000300.jpg": (132.3, 133.9, 94.2, 54.6, 57.9, 182.3, 186.0),
}
# Of each icon and livery: the mean brightness, and how much of it lies right (above 0) or left, low (above 0) or high.
ICON_BALANCE = {
    "apple": (110.68, -0.41, -1.21),
    "bean": (118.4, -0.06, -0.09),
    "berries": (109.8, -0.03, 1.26),
    "cherry": (118.43, -0.56, -2.58),
    "citrus": (123.22, -0.19, -0.17),
    "cup": (116.99, 0.96, -1.22),
    "drop": (117.44, -0.39, -1.1),
    "flower": (114.03, 0.0, -0.05),
    "grain": (121.12, -0.01, 0.76),
    "heart": (113.2, -0.01, 1.6),
    "leaf": (111.91, 1.41, -3.2),
    "mountain": (121.11, 1.54, -3.29),
    "nut": (105.4, -0.1, 3.41),
    "star": (118.4, 0.0, -0.07),
    "sun": (117.28, -0.02, -0.02),
    "wave": (113.68, -0.12, -0.02),
}
LABEL_BALANCE = {
    "band": (117.07, -0.02, -1.37),
    "oval": (192.56, 1.82, 3.5),
    "panel": (175.74, 0.55, -0.24),
    "wave": (216.78, -0.2, 6.35),
    "arch": (178.19, -0.56, -5.12),
    "plain": (159.99, 0.04, 7.44),
}
ALL_SKUS = catalogue(0).trained + catalogue(0).novel
FROZEN = (
    "The shop is frozen: figures in the documents were measured on these very pictures. A generator that draws or "
    "sorts anything else needs another name (shelfmark/shop/writing.py, NAME) and new figures. If the source "
    "changed but no picture and no annotation did, write the new hash here: {}"
)


def test_each_set_has_its_pictures_and_no_others_and_none_twice(shop_root: Path) -> None:
    tables = {name: read_annotations(shop_root / f"{name}.json", shop_root) for name in ("train", "val", "retrieval")}
    images = json.loads((shop_root / "test.json").read_text())["images"]
    named = {path for table in tables.values() for path in table.paths} | {f"test/{one['image_id']}" for one in images}
    files = list(shop_root.rglob("*.jpg"))
    assert named == {path.relative_to(shop_root).as_posix() for path in files}
    assert len(named) == len({hashlib.sha256(path.read_bytes()).digest() for path in files}) == 4873 + 720 + 480 + 320
    assert tables["train"].counts.tolist() == class_counts(0).tolist()
    assert set(tables["val"].counts) == {6}
    assert set(np.bincount(split_labels(0, "test"), minlength=120)) == {4}
    shown, labels = np.asarray(tables["retrieval"].is_gallery), tables["retrieval"].labels
    assert (shown != np.asarray(tables["retrieval"].is_query)).all()
    assert [set(np.bincount(labels[part], minlength=40)) for part in (shown, ~shown)] == [{3}, {5}]
    for split in ("train", "val", "test", "novel"):
        order = split_labels(0, split)
        assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.1, "the order of files tells the class"


def test_the_training_set_has_a_long_tail_that_has_nothing_to_do_with_the_family() -> None:
    counts = class_counts(0)
    assert (counts.max(), counts.min()) == (150, 4)
    assert ((counts > 100).sum(), (counts < 20).sum()) == (14, 53)
    # Exponential: on a logarithmic scale the sorted counts fall by equal steps.
    steps = np.diff(np.log(np.sort(counts)[::-1][:60]))
    assert steps.mean() == pytest.approx(np.log(4 / 150) / 119, abs=1e-3)
    families: dict[int, list[int]] = {}
    for count, sku in zip(counts, catalogue(0).trained):
        families.setdefault(sku.family.number, []).append(count)
    assert sum(min(sizes) < 20 and max(sizes) > 40 for sizes in families.values()) >= 18


def test_novel_skus_are_never_trained_and_never_stand_beside_a_trained_one() -> None:
    sold = catalogue(0)
    assert len({sku.name for sku in ALL_SKUS}) == 160
    assert len({sku.family.number for sku in sold.novel} - {sku.family.number for sku in sold.trained}) == 4
    for family in range(28):
        strangers = _strangers(0, family)
        assert not set(strangers) & set(sold.novel)
        assert family not in {sku.family.number for sku in strangers}


def test_members_of_a_family_differ_in_details_of_the_label_only() -> None:
    families: dict[int, list[Sku]] = {}
    for sku in ALL_SKUS:
        families.setdefault(sku.family.number, []).append(sku)
    for family in families.values():
        first = family[0].family
        faces = [face_pixels(sku).astype(int) for sku in family]
        top, bottom = (round(part * faces[0].shape[0]) for part in SHAPES[first.product.shape].label)
        for row, face in enumerate(faces):
            for other in faces[row + 1 :]:
                changed = (np.abs(face - other) > 40).any(axis=2)
                assert 0.005 < changed[top:bottom].mean() < 0.35, first.name
                assert "cap" in first.cues or not (changed[:top].any() or changed[bottom:].any()), first.name


def test_every_shape_is_drawn_whole_in_every_pose_and_everything_is_in_use() -> None:
    for shape in SHAPES:
        sku = next(sku for sku in ALL_SKUS if sku.family.product.shape == shape)
        for yaw_deg, pitch_deg in ((-38, -12), (-38, 20), (0, 0), (20, -12), (20, 20)):
            layer = pack_of(sku).posed(Pose(yaw_deg, pitch_deg, 0.5))
            alpha = layer[..., 3]
            assert not np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]).any(), f"{shape} is cut off"
            assert (alpha == 255).sum() > 3000
            # Premultiplied, but for one step of rounding.
            assert (layer[..., :3].astype(int) <= alpha[..., None].astype(int) + 1).all()
    assert {sku.family.layout for sku in ALL_SKUS} == set(LAYOUTS)
    assert {sku.flavour.icon for sku in ALL_SKUS} <= set(ICONS)


def test_a_picture_depends_on_seed_and_number_alone(shop_root: Path) -> None:
    # The fixture drew with two processes, in order; this is one process, out of order.
    for split, index in (("train", 4000), ("val", 7), ("train", 3), ("novel", 200), ("test", 0)):
        assert picture(0, split, index) == (shop_root / split / f"{index:06d}.jpg").read_bytes()
    assert [sku.name for sku in catalogue(1).trained] != [sku.name for sku in catalogue(0).trained]
    assert sorted(class_counts(1)) == sorted(class_counts(0))
    assert (class_counts(1) != class_counts(0)).any()
    assert picture(1, "val", 0) != picture(0, "val", 0)


def test_the_generator_is_frozen() -> None:
    assert generator_sha256() == GENERATOR_SHA256, FROZEN.format(generator_sha256())


def test_the_shop_is_frozen(shop_root: Path) -> None:
    found = {name: sha256_json(json.loads((shop_root / name).read_text())) for name in ANNOTATION_SHA256}
    assert found == ANNOTATION_SHA256, FROZEN.format(found)
    # With a tolerance: another JPEG or SIMD library may differ in the last bit.
    for name, color in MEAN_COLOR.items():
        pixels = cv2.imread(str(shop_root / name))[..., ::-1]
        quarters = [part.mean() for half in np.array_split(pixels, 2) for part in np.array_split(half, 2, axis=1)]
        np.testing.assert_allclose([*pixels.mean(axis=(0, 1)), *quarters], color, atol=1.0, err_msg=name)


def test_each_icon_and_each_livery_looks_as_ever() -> None:
    def balance(pixels: np.ndarray) -> list[float]:
        bright = pixels.mean(axis=2)
        across, down = (np.linspace(-1, 1, size) for size in bright.shape[::-1])
        return [float((bright * weight).mean()) for weight in (np.ones(1), across, down[:, None])]

    def icon(name: str) -> np.ndarray:
        panel = Panel(64, 64, "#808080")
        draw_icon(panel, name, (32.0, 32.0), 26.0, "#c02020")
        return panel.pixels()

    icons = {name: balance(icon(name)) for name in ICONS}
    labels = {layout: balance(face_pixels(_first_in(layout))) for layout in LAYOUTS}
    for found, expected in ((icons, ICON_BALANCE), (labels, LABEL_BALANCE)):
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=0.1, err_msg=name)


def _first_in(layout: str) -> Sku:
    return next(sku for sku in ALL_SKUS if sku.family.layout == layout)


# --- the folder ---


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop of three pictures."""
    monkeypatch.setattr(writing, "_tasks", lambda seed: [("train", 0, 2), ("val", 0, 1)])


def test_a_shop_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(writing, "_write_some", fail)
    with pytest.raises(OSError, match="no space"):
        generate_shop(tmp_path / "shop", num_workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("few")
def test_one_process_draws_where_no_others_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenProcessPool("a process ended abruptly")

    monkeypatch.setattr(drawing, "_drawn_in_processes", broken)
    generate_shop(tmp_path / "shop", num_workers=2)
    assert len(list((tmp_path / "shop").rglob("*.jpg"))) == 3
    assert (tmp_path / "shop" / "train" / "000001.jpg").read_bytes() == picture(0, "train", 1)


def test_a_folder_that_is_not_a_shop_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a generated shop, so it is not replaced"):
        generate_shop(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.usefixtures("few")
def test_an_older_or_incomplete_shop_is_known_and_replaced(
    shop_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_complete(shop_root)
    assert not is_complete(tmp_path / "nothing")
    generate_shop(tmp_path / "shop", num_workers=1)
    assert not is_complete(tmp_path / "shop")
    (tmp_path / "shop" / "val" / "000000.jpg").unlink()
    generate_shop(tmp_path / "shop", seed=3, num_workers=1)
    assert (tmp_path / "shop" / "val" / "000000.jpg").read_bytes() == picture(3, "val", 0)
    monkeypatch.setattr(writing, "NAME", "shop-2")
    assert not is_complete(shop_root)
