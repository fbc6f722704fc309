"""Two processes whose shares differ: one has no picture, none that can be read, or a failure of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from two_processes import on_two_processes

from shelfmark.config.load import load
from shelfmark.config.overrides import Override
from shelfmark.core import dist
from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped
from shelfmark.core.strings import Strings
from shelfmark.core.together import from_main
from shelfmark.data import bad_images, image_scan
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.checked_images import CheckedImages
from shelfmark.data.image_scan import check_images
from shelfmark.data.options import DataOptions
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.evaluation.extract import extract
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.image_pass import evaluation_pass

NUM_PICTURES = 6


def table(folder: Path, numbers: list[int]) -> Table:
    paths = Strings.of(f"{number}.png" for number in numbers)
    return Table(paths, np.zeros(len(numbers), np.int64), paths, num_classes=1, root=folder, sha256="")


class MeanColour(torch.nn.Module):
    """A network whose features are the mean colour, which process `rank` spoils."""

    def __init__(self, rank: int = -1, how: Callable[[torch.Tensor], torch.Tensor] = torch.neg) -> None:
        super().__init__()
        self.rank, self.how = rank, how

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        colour = images.mean(dim=(2, 3))
        return self.how(colour) if dist.rank() == self.rank else colour


def stop(_: torch.Tensor) -> torch.Tensor:
    raise Stopped(15)


def crash(_: torch.Tensor) -> torch.Tensor:
    raise ValueError("a mistake of ours")


def passes(folder: Path) -> dict[str, str]:
    """What becomes of each pass in this process: its rows, or its error. Behind each the processes are in step."""
    options = [Override("data.input_size_px", 8, "test"), Override("data.num_workers", 0, "test")]
    recipe = load(Recipe, None, [*options, Override("eval.batch_size", 3, "test")]).config
    forgiving = recipe.model_copy(update={"data": recipe.data.model_copy(update={"on_bad_image": "skip"})})

    def embedded(
        numbers: list[int], limit: float = 1.0, recipe: Recipe = forgiving, network: Any = None, into: str = "out"
    ) -> str:
        rows = table(folder, numbers)
        log = BadImageLog(folder / "bad.csv", len(rows), limit)
        precision = Precision.resolve("fp32", torch.device("cpu"))
        images = evaluation_pass(recipe, network or MeanColour(), precision, assemble.image_source(recipe, rows))
        with log.over_ranks():
            share = ((batch.rows, batch.values) for batch in images.share(log))
            found = extract(share, rows, folder / into, {})
        return f"rows {found.rows.tolist()}, unread {len(log)}"

    def looked_at(numbers: list[int]) -> str:
        data = DataOptions(num_workers=0, on_bad_image="skip", max_bad_images=0)
        decoded: list[list[BadImage]] = []
        with (
            patch.object(image_scan, "_BATCH_SIZE", 2),
            patch.object(image_scan, "_report", lambda bad, *_: decoded.append(bad)),
        ):
            check_images({"training": table(folder, numbers)}, data, folder / "log")
        found = [Path(one.path).name for bad in decoded for one in bad]
        keys = len(CheckedImages.of(folder / "log", data.root)._keys)
        return f"{from_main(lambda: found)}, {keys} are known"

    cases: dict[str, Callable[[], str]] = {
        "one picture": lambda: embedded([0]),
        "no picture": lambda: embedded([]),
        "first share unreadable": lambda: embedded([10, 11, 12, 3, 4, 5]),
        "second share unreadable": lambda: embedded([0, 1, 2, 10, 11, 12]),
        "all unreadable": lambda: embedded([10, 11, 12, 13]),
        "too many in one share": lambda: embedded([0, 1, 2, 10, 4, 5], limit=0.1),
        "too many in both together": lambda: embedded([10, 1, 2, 11, 4, 5], limit=0.2),
        "no forgiving": lambda: embedded([0, 1, 2, 10, 4, 5], recipe=recipe),
        "a signal to one": lambda: embedded([0, 1, 2, 3], network=MeanColour(1, stop)),
        "broken weights": lambda: embedded([0, 1, 2, 3], network=MeanColour(0, lambda colour: colour / 0)),
        "crash": lambda: embedded([0, 1, 2, 3], network=MeanColour(1, crash)),
        "no folder": lambda: embedded([0, 1, 2, 3], into="0.png/out"),
        "looked at before training": lambda: looked_at([10, 1, 2, 3, 4, 5, 0, 11]),
        "looked at again": lambda: looked_at([3, 4, 12]),
        "crash of the first": lambda: from_main(lambda: crash(torch.empty(0))),
        "value of the first": lambda: from_main(lambda: f"made by {dist.rank()}"),
    }
    outcomes = {}
    for name, case in cases.items():
        try:
            with patch.object(bad_images, "ALWAYS_ALLOWED", 0):
                outcomes[name] = case()
        except Exception as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
        assert dist.gather_objects(name) == [name] * 2
    return outcomes


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("shares")
    for number in range(NUM_PICTURES):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    for number in range(10, 14):
        (folder / f"{number}.png").write_bytes(b"no picture")
    (folder / "processes").mkdir()
    return on_two_processes(partial(passes, folder), folder / "processes")


@pytest.mark.dist
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("one picture", "rows [0], unread 0"),
        ("no picture", "UserError: There is no image to embed"),
        ("first share unreadable", "rows [3, 4, 5], unread 3"),
        ("second share unreadable", "rows [0, 1, 2], unread 3"),
        ("all unreadable", "UserError: There is no image to embed"),
        ("too many in one share", "UserError: 1 of 6 images could not be read, more than 0"),
        ("too many in both together", "UserError: 2 of 6 images could not be read, more than 1"),
        ("broken weights", "UserError: The embedding of 0.png holds NaN"),
        ("value of the first", "made by 0"),
        ("looked at before training", "['10.png', '11.png'], 6 are known"),
        ("looked at again", "['12.png'], 6 are known"),
        ("a signal to one", "Stopped: stopped by SIGTERM"),
    ],
)
def test_both_processes_end_a_pass_alike(outcomes: list[dict[str, str]], case: str, said: str) -> None:
    for one in outcomes:
        assert one[case].startswith(said), one[case]
    assert outcomes[0][case] == outcomes[1][case]


@pytest.mark.dist
def test_the_picture_that_one_process_cannot_read_is_named_by_both(outcomes: list[dict[str, str]]) -> None:
    assert outcomes[0]["no forgiving"] == outcomes[1]["no forgiving"]
    assert "10.png" in outcomes[0]["no forgiving"]
    assert outcomes[0]["no forgiving"].startswith("UserError")


@pytest.mark.dist
@pytest.mark.parametrize(("case", "failed"), [("crash", 1), ("crash of the first", 0)])
def test_a_crash_of_one_process_ends_the_other_too(outcomes: list[dict[str, str]], case: str, failed: int) -> None:
    own = "ValueError: a mistake of ours"
    assert outcomes[failed][case] == own
    assert outcomes[1 - failed][case].startswith(f"FailedElsewhereError: process {failed} failed: {own}")


@pytest.mark.dist
def test_a_folder_that_cannot_be_made_ends_both(outcomes: list[dict[str, str]]) -> None:
    assert not any(one["no folder"].startswith("rows") for one in outcomes)
    assert all("0.png" in one["no folder"] for one in outcomes)


def test_in_one_process_an_error_passes_as_it_is(tmp_path: Path) -> None:
    log = BadImageLog(tmp_path / "bad.csv", num_images=1)
    with pytest.raises(UserError, match="^its own words$"), log.over_ranks():
        raise UserError("its own words")
    with pytest.raises(KeyError, match="mine"):
        from_main(lambda: {}["mine"])
