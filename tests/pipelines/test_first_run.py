"""`shelfmark train --images DIR`: one command from a folder of photographs to a model, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmark.cli import main
from shelfmark.config.load import load
from shelfmark.data.class_folders import ClassFolders
from shelfmark.data.image_files import ImageFiles
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.recipe import Recipe
from shelfmark.runtime.first_division import Division, told_changes

# A tiny network without published weights; everything else is chosen.
TINY = ["model.backbone=test_resnet", "data.input_size_px=32", "train.num_epochs=2", "train.precision=fp32"]
COLOURS = {"green tea": (20, 160, 40), "rote Grütze": (200, 20, 30), "salt": (230, 230, 240)}


def write_pictures(folder: Path, name: str, numbers: range) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        noise = np.random.default_rng(number).integers(-15, 16, (40, 40, 3))
        pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the command has run once, on `my "späti" photos`, and what it said in `said`."""
    folder = tmp_path_factory.mktemp("first")
    for name in COLOURS:
        write_pictures(folder / 'my "späti" photos', name, range(10))
    (folder / 'my "späti" photos' / "salt" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with contextlib.chdir(folder), (folder / "said").open("w") as said:
        lines = logging.StreamHandler(said)
        logging.getLogger("shelfmark").addHandler(lines)
        with contextlib.redirect_stdout(said):
            assert main(["train", "--images", 'my "späti" photos', *TINY]) == 0
        logging.getLogger("shelfmark").removeHandler(lines)
    # So that a copy is the folder, moved.
    return folder.rename(folder.with_name("kept"))


@pytest.fixture
def trained(first: Path, here: Path) -> Path:
    """A copy of that folder, as the working folder."""
    shutil.copytree(first, here, dirs_exist_ok=True)
    return here


def parts(folder: Path) -> dict[str, str]:
    """path -> part, of an annotated folder."""
    found = {}
    for part in ("train", "val"):
        document = json.loads((folder / f"{part}.json").read_text())
        found |= {record["fpath"]: part for record in document["annotations"]}
    return found


def commands_of(said: str) -> list[list[str]]:
    """The words behind `shelfmark` of each command under `What next:`."""
    lines = [line for line in said.partition("What next:")[2].splitlines() if line[:3] not in ("", "  #")]
    return [words[words.index("shelfmark") + 1 :] for words in map(shlex.split, lines)]


def test_a_folder_becomes_a_model_and_the_printed_commands_work(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (trained / "said").read_text()
    assert "30 pictures of 3 classes, 24 to train on, 6 to validate" in said
    assert re.search(r"1 pictures? cannot be read.*\n.*broken.png: damaged", said)
    assert "model.backbone=test_resnet: as you asked" in said
    checkpoint = load_checkpoint(Path("log/my_spati_photos/best_model"))
    assert checkpoint.manifest["class_names"] == sorted(COLOURS)
    (trained / 'my "späti" photos' / "salt" / "broken.png").unlink()
    commands = commands_of(said)
    assert [words[0] for words in commands] == ["test", "index", "recognise"]
    for words in commands:
        assert main(words) == 0, words
    assert "green tea" in capsys.readouterr().out


def test_parts_that_the_folder_has_are_kept_and_its_test_pictures_are_scored(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in COLOURS:
        for part, numbers in (("train", range(6)), ("Valid", range(6, 8)), ("test", range(8, 11))):
            write_pictures(here / "photos" / part, name, numbers)
    assert main(["train", "--images", "photos", *TINY]) == 0
    assert {path.split("/")[0]: part for path, part in parts(Path("dataset/photos")).items()} == {
        "train": "train",
        "Valid": "val",
    }
    score, *_ = commands_of(capsys.readouterr().out)
    assert score[0] == "evaluate"
    assert main(score) == 0
    assert re.search(r"images +│ +9 ", capsys.readouterr().out)


def test_the_recipe_that_is_written_trains_the_same_and_says_why(trained: Path) -> None:
    file = Path("dataset/my_spati_photos/my_spati_photos.yaml")
    written = load(Recipe, file).config.model_dump(mode="json")
    used = load_checkpoint(Path("log/my_spati_photos/best_model")).manifest["config"]
    assert written == used
    assert "# text on a pack is never mirrored" in file.read_text()


def test_given_again_it_goes_on_with_the_same_division_and_the_edited_recipe(
    trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {file: file.read_bytes() for file in Path("dataset/my_spati_photos").glob("*.json")}
    recipe = Path("dataset/my_spati_photos/my_spati_photos.yaml")
    recipe.write_text(recipe.read_text().replace("num_epochs: 2", "num_epochs: 3"))
    assert main(["train", "--images", 'my "späti" photos']) == 0
    assert {file: file.read_bytes() for file in Path("dataset/my_spati_photos").glob("*.json")} == files
    assert sorted(path.name for path in Path("dataset").iterdir()) == ["my_spati_photos"]
    assert "resuming log/my_spati_photos/last" in caplog.text
    assert load_checkpoint(Path("log/my_spati_photos/last")).manifest["epoch"] == 3


def test_new_pictures_begin_a_second_run_and_the_others_stay_in_their_part(
    trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = parts(Path("dataset/my_spati_photos"))
    images = trained / 'my "späti" photos'
    write_pictures(images, "salt", range(10, 20))
    (images / "green tea" / "3.png").unlink()
    assert main(["train", "--images", str(images), *TINY]) == 0
    now = parts(Path("dataset/my_spati_photos_2"))
    assert {path: part for path, part in now.items() if path in before} == {
        path: part for path, part in before.items() if path != "green tea/3.png"
    }
    assert [now[f"salt/{number}.png"] for number in range(10, 20)].count("val") == 2
    assert parts(Path("dataset/my_spati_photos")) == before
    assert "10 pictures are new and 1 is gone" in caplog.text
    assert Path("log/my_spati_photos_2/best_model").is_dir()


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"a": "train", "b": "val", "c": "train", "d": "train"}, "2 pictures are new; pictures that were"),
        ({"a": "train"}, "1 picture is gone; pictures that were"),
        ({"b": "val", "c": "train"}, "1 picture is new and 1 is gone; pictures that were"),
    ],
)
def test_what_came_and_went_since_the_first_division_is_told(tmp_path: Path, now: dict[str, str], told: str) -> None:
    parts = [{path: "x" for path, part in now.items() if part == name} for name in ("train", "val")]
    folders = ClassFolders(tmp_path, ImageFiles(tmp_path, (), {}, {}), *parts, test={}, unlabelled_test=())
    division = Division(folders, is_drawn=True, unreadable=(), readable_keys=np.empty(0))
    assert f": {told}" in told_changes(division, {"a": "train", "b": "val"}, Path("dataset/a"))


def test_another_network_on_the_same_division_is_another_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--images", 'my "späti" photos', "model.neck=bn"]
    assert main(command) == 2
    assert "Add name=NAME" in capsys.readouterr().err
    assert main([*command, "name=second", *TINY]) == 0
    assert sorted(path.name for path in Path("dataset").iterdir()) == ["my_spati_photos"]
    assert load(Recipe, Path("dataset/my_spati_photos/second.yaml")).config.model.neck == "bn"


def test_another_folder_of_the_same_name_gets_a_name_of_its_own(trained: Path) -> None:
    other = trained / "elsewhere" / 'my "späti" photos'
    for name in COLOURS:
        write_pictures(other, name, range(20, 26))
    assert main(["train", "--images", str(other), *TINY]) == 0
    assert all(path.startswith(tuple(COLOURS)) for path in parts(Path("dataset/my_spati_photos_2")))
    assert load(Recipe, Path("dataset/my_spati_photos_2/my_spati_photos_2.yaml")).config.data.root == other


def test_a_config_gives_everything_but_the_data(here: Path) -> None:
    (here / "mine.yaml").write_text(
        "data: {generated: shop, retrieval_json: dataset/shop/retrieval.json, input_size_px: 32}\n"
        "model: {backbone: test_resnet}\ntrain: {num_epochs: 1, batch_size: 4, precision: fp32}\n"
        "eval: {metric: top1}\noptim: {lr: 0.01}\n"
    )
    for name in COLOURS:
        write_pictures(here / "photos", name, range(6))
    assert main(["train", "--images", "photos", "--config", "mine.yaml", "optim.lr=0.02"]) == 0
    recipe = load(Recipe, Path("dataset/photos/photos.yaml")).config
    assert recipe.data.generated == ""
    assert recipe.data.retrieval_json is None
    assert (recipe.train.batch_size, recipe.optim.lr, recipe.model.freeze) == (4, 0.02, ())


def _broken(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "1.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
        (folder / name / "2.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")


def _one_class(folder: Path) -> None:
    write_pictures(folder, "salt", range(4))


def _single_pictures(folder: Path) -> None:
    for name in COLOURS:
        write_pictures(folder, name, range(1))


def _loose(folder: Path) -> None:
    _single_pictures(folder)
    shutil.copy(folder / "salt" / "0.png", folder / "0.png")


def _good(folder: Path) -> None:
    for name in COLOURS:
        write_pictures(folder, name, range(4))


def test_losses_of_the_users_choose_the_score_too(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in COLOURS:
        write_pictures(here / "photos", name, range(10))
    metric = ["losses=[{name: triplet, head: rank}]", "model.heads={rank: {dim: 8}}", "sampling.type=pk"]
    assert main(["train", "--images", "photos", *TINY, *metric, "train.num_epochs=1"]) == 0
    assert load(Recipe, Path("dataset/photos/photos.yaml")).config.eval.metric == "recall@1"
    assert "no loss trains the classifier" not in caplog.text


REFUSED: list[tuple[Callable[[Path], None] | None, list[str], str]] = [
    (None, [], "photos holds no picture"),
    (_broken, [], "none of the 4 pictures to train on can be read"),
    (_one_class, [], "photos has one class, salt: there is nothing to tell apart"),
    (_single_pictures, [], "for training. Add images: no class has two that differ."),
    (_loose, [], "1 image outside any class folder, such as 0.png"),
    (_good, ["data.train_json=x.json"], "--images says which pictures these are"),
    (_good, ["optim.lrr=0.1"], "optim.lrr=0.1 is not an option. Did you mean optim.lr?"),
    (_good, ["--smoke"], "leave out --smoke"),
    (_good, ["model.weights=none.pth"], "model.weights='none.pth': there is no such file"),
    (_good, ["train.stages=[{from_epoch: 900, freeze: []}]"], "a stage begins at epoch 900, and num_epochs="),
]


@pytest.mark.parametrize(("make", "more", "told"), REFUSED, ids=[told[:30] for _, _, told in REFUSED])
def test_what_is_refused_leaves_nothing_behind(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None] | None,
    more: list[str],
    told: str,
) -> None:
    (here / "photos").mkdir()
    if make:
        make(here / "photos")
    assert main(["train", "--images", "photos", *more]) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["photos"]


def test_results_are_never_written_among_the_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _good(here)
    assert main(["train", "--images", ".", *TINY]) == 2
    assert "results would be written among the pictures" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == sorted(COLOURS)


def test_a_bare_command_makes_no_shop_in_a_folder_of_the_users(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    said = capsys.readouterr().err
    assert "shelfmark train --images DIR" in said
    assert "shelfmark demo" in said
    assert not any(here.iterdir())
