from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import shelfmark
from shelfmark.api import Model
from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.models.network import build_network
from shelfmark.models.options import ModelOptions
from shelfmark.models.plain_backbone import plain_state
from shelfmark.pipelines.embed import embed
from shelfmark.pipelines.predict import predict

CHECKPOINT = Path(__file__).parents[1] / "version_0_1_0" / "run" / "best_model"
ON_A_CPU = {"train.device": "cpu", "data.num_workers": 0, "eval.batch_size": 4}


@pytest.fixture(scope="module")
def model() -> Model:
    return shelfmark.load(CHECKPOINT, ON_A_CPU)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Eleven PNG files of several sizes: with four in a batch the last batch is smaller."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(11):
        size = (40 + number, 50 - number, 3)
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("options", [{}, {"predict.views": "flip", "predict.sizes_px": [32, 40]}])
def test_the_probabilities_are_those_of_the_command_to_the_last_digit(
    tmp_path: Path, photos: list[Path], options: dict[str, Any]
) -> None:
    model = shelfmark.load(CHECKPOINT, {**ON_A_CPU, **options})
    num_classes = len(model.class_names)
    told = predict(model.trained, photos[0].parent, topk=num_classes, out=tmp_path / "answers.csv")
    found = model.predict(photos)
    assert found.dtype == np.float32
    assert found.shape == (11, num_classes)
    assert np.array_equal(np.take_along_axis(found, told.classes, axis=1), told.scores)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_the_features_are_those_of_the_command_to_the_last_digit(
    tmp_path: Path, model: Model, photos: list[Path]
) -> None:
    stored = embed(model.trained, tmp_path / "features", images=photos[0].parent).features
    assert np.array_equal(model.embed(photos), stored.features)


def test_an_image_is_the_same_however_it_is_given(tmp_path: Path, model: Model, photos: list[Path]) -> None:
    turned = tmp_path / "turned.jpg"
    picture = Image.open(photos[0])
    exif = picture.getexif()
    exif[0x0112] = 6  # a phone held upright
    picture.convert("RGB").save(turned, exif=exif, quality=90)
    Image.open(photos[1]).convert("L").save(tmp_path / "grey.png")
    for path in (photos[0], turned, tmp_path / "grey.png"):
        upright = Image.open(path).convert("RGB")
        pixels = np.asarray(upright if path != turned else upright.transpose(Image.Transpose.ROTATE_270))
        kinds = [path, str(path), path.read_bytes(), Image.open(path), pixels, pixels[::-1][::-1]]
        rows = model.embed(kinds, batch_size=1)
        assert all(np.array_equal(rows[0], row) for row in rows)
    stacked = np.stack([np.asarray(Image.open(photos[2]))] * 3)
    assert np.array_equal(model.embed(stacked, batch_size=1), model.embed([photos[2]] * 3, batch_size=1))


def test_no_images_give_no_rows(model: Model) -> None:
    num_classes = len(model.class_names)
    assert model.predict([]).shape == (0, num_classes)
    assert model.embed(iter([])).shape == (0, model.trained.network.classifier.weight.shape[1])


def test_every_image_that_cannot_be_read_is_named(tmp_path: Path, model: Model, photos: list[Path]) -> None:
    (tmp_path / "broken.png").write_bytes(photos[0].read_bytes()[:200])
    given = [*photos[:5], tmp_path / "broken.png", tmp_path / "gone.png", b"no picture", tmp_path]
    for ask in (model.embed, model.predict):
        with pytest.raises(UserError) as caught:
            ask(given)
        said = str(caught.value)
        assert said.startswith("4 of 9 images could not be read: ")
        assert "broken.png: " in said
        assert "gone.png: missing" in said
        assert "images[7]: not a " in said
        assert f"{tmp_path}: a folder, not a file" in said
    cut = Image.open(io.BytesIO((tmp_path / "broken.png").read_bytes()))
    with pytest.raises(UserError, match=r"images\[1\] could not be read"):
        model.embed([photos[0], cut])


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("photo.jpg", "put it into a list"),
        (Path("photo.jpg"), "put it into a list"),
        (b"bytes", "put it into a list"),
        (np.zeros((4, 4, 3), np.uint8), "put it into a list"),
        ([np.zeros((4, 4, 3), np.float32)], r"images\[0\] is ndarray of float32, \(4, 4, 3\); an image is a path"),
        ([np.zeros((4, 4), np.uint8)], r"of uint8, \(4, 4\)"),
        ([torch.zeros(3, 4, 4)], r"Tensor of torch.float32, \(3, 4, 4\)"),
        ([None], r"images\[0\] is NoneType"),
        ([np.zeros((0, 4, 3), np.uint8)], r"images\[0\]: no pixels"),
    ],
)
def test_what_is_no_list_of_images_is_an_error_that_says_what_is(model: Model, images: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        model.embed(images)


def test_each_process_of_a_program_gets_the_answers_to_its_own_images(
    model: Model, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = model.embed(photos), model.predict(photos)
    monkeypatch.setattr(dist, "rank", lambda: 1)
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    assert np.array_equal(model.embed(photos), alone[0])
    assert np.array_equal(model.predict(photos), alone[1])


def test_a_wrong_option_is_told_as_on_the_command_line(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"predict.vews.*Did you mean predict.views"):
        shelfmark.load(CHECKPOINT, {"predict.vews": "flip"})
    with pytest.raises(UserError, match="options are a dict"):
        shelfmark.load(CHECKPOINT, ["predict.views=flip"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="batch_size=0 is no number of images"):
        model.embed([tmp_path / "a.png"], batch_size=0)
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        shelfmark.loda  # noqa: B018
    assert {"load", "load_index", "train", "__version__"} <= set(dir(shelfmark))


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "test_resnet"},
        {"backbone": "test_resnet", "last_stride": 2, "embedding_dim": 8},
        {"backbone": "test_vit", "adapters": {"rank": 2, "modules": ["qkv"]}},
    ],
)
def test_plain_timm_takes_the_backbone_and_gives_the_same_features(options: dict[str, Any]) -> None:
    given = ModelOptions.model_validate(options)
    network = build_network(given, 5)
    with torch.no_grad():
        for parameter in network.parameters():  # adapters begin at zero
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    network.eval()
    before = {name: one.clone() for name, one in network.state_dict().items()}
    plain = timm.create_model(options["backbone"], num_classes=0)
    plain.load_state_dict(plain_state(network.backbone, given))
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(plain.eval()(pixels), network.backbone(pixels))
    # The network itself keeps its adapters.
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())


def test_a_learned_pooling_is_left_out_and_what_timm_cannot_build_is_refused() -> None:
    gem = ModelOptions.model_validate({"backbone": "test_resnet", "pooling": {"name": "gem", "trainable": True}})
    timm.create_model("test_resnet", num_classes=0).load_state_dict(plain_state(build_network(gem, 5).backbone, gem))
    for options, said in (
        ({"backbone": "test_resnet", "experts": 2}, "model.experts=2"),
        ({"backbone": "resnet32_cifar"}, "not a model of timm's"),
    ):
        given = ModelOptions.model_validate(options)
        with pytest.raises(UserError, match=said):
            plain_state(build_network(given, 5).backbone, given)


def test_a_copy_of_the_checkpoint_answers_alike_from_another_place(
    tmp_path: Path, model: Model, photos: list[Path]
) -> None:
    shutil.copytree(CHECKPOINT, tmp_path / "moved")
    assert np.array_equal(shelfmark.load(str(tmp_path / "moved"), ON_A_CPU).embed(photos), model.embed(photos))
