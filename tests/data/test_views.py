"""Several views of an image in a batch: with every sampler, over processes, after a resume. Legend: V views."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from from_options import build_order, train_transform
from PIL import Image

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.dataset import ImageDataset
from shelfmark.data.loader import TrainLoader
from shelfmark.data.samplers import SAMPLERS, EpochOrder, rank_batches
from shelfmark.data.sources import FileSource
from shelfmark.data.table import Table

NUM_ROWS = 26
LABELS = np.arange(NUM_ROWS) % 4


def order(name: str, views: int = 2, batch_size: int = 8, **options: int) -> EpochOrder:
    return build_order(name, LABELS, 4, batch_size, 0, **{"images_per_class": 2, "views": views, **options})


@pytest.mark.parametrize("name", SAMPLERS)
class TestEverySampler:
    def test_each_draw_of_the_smaller_batch_stands_as_often_as_there_are_views(self, name: str) -> None:
        drawn = order(name, views=1, batch_size=4).rows(3)
        for views in (2, 3):
            rows = order(name, views, batch_size=4 * views).rows(3)
            assert rows.shape == (len(drawn), 4 * views)
            for one, many in zip(drawn.tolist(), rows.tolist()):
                assert Counter(many) == Counter({row: views * times for row, times in Counter(one).items()})

    def test_an_epoch_is_as_long_as_a_pass_over_the_distinct_images(self, name: str) -> None:
        assert order(name).num_batches == NUM_ROWS // 4
        assert order(name, steps_per_epoch=5).num_batches == 5

    def test_on_as_many_processes_as_views_each_gets_every_draw_once(self, name: str) -> None:
        shares = [rank_batches(order(name), 1, rank=rank, world_size=2) for rank in range(2)]
        for first, second in zip(*shares):
            assert [draw.row for draw in first] == [draw.row for draw in second]
            assert not set(first) & set(second)

    def test_the_draws_are_the_same_on_any_number_of_processes_and_after_a_resume(self, name: str) -> None:
        whole = list(rank_batches(order(name), 2))
        shares = [list(rank_batches(order(name), 2, rank=rank, world_size=4)) for rank in range(4)]
        for step, batch in enumerate(whole):
            assert [draw for share in shares for draw in share[step]] == batch
        assert list(rank_batches(order(name), 2, start_step=3)) == whole[3:]

    def test_every_draw_of_an_epoch_has_a_seed_of_its_own(self, name: str) -> None:
        draws = [draw for batch in rank_batches(order(name, steps_per_epoch=20), 0) for draw in batch]
        assert len(set(draws)) == len(draws)

    def test_a_switch_of_the_sampler_keeps_the_views(self, name: str) -> None:
        staged = build_order("instance", LABELS, 4, 8, 0, images_per_class=2, stages=[(1, name)], views=2)
        np.testing.assert_array_equal(staged.rows(0), order("instance").rows(0))
        np.testing.assert_array_equal(staged.rows(1), order(name).rows(1))


def test_errors_say_that_they_count_distinct_images() -> None:
    with pytest.raises(UserError, match=r"train.batch_size / augment.views=30 is larger .* take at most 26"):
        order("instance", batch_size=60)
    with pytest.raises(UserError, match=r"images_per_class=3 does not divide train.batch_size / augment.views=4;"):
        order("pk", images_per_class=3)
    with pytest.raises(UserError, match=r"Lower train.batch_size / augment.views to at most 4 or raise"):
        order("pk", batch_size=16, images_per_class=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for row in range(NUM_ROWS):
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(root / f"{row}.png")
    names = Strings.of(f"{row}.png" for row in range(NUM_ROWS))
    return Table(names, LABELS, names, 4, root, "")


def loader(
    table: Table, batches: EpochOrder | None = None, rank: int = 0, world_size: int = 1, num_workers: int = 0
) -> TrainLoader:
    dataset = ImageDataset(FileSource(table.paths, table.root), table.labels, train_transform(8, flip=0.0), seed=5)
    return TrainLoader(dataset, batches or order("pk"), num_workers, rank=rank, world_size=world_size)


def images_by_row(batches: list[Batch]) -> dict[int, list[torch.Tensor]]:
    found: dict[int, list[torch.Tensor]] = {}
    for batch in batches:
        for row, image in zip(batch.rows.tolist(), batch.images):
            found.setdefault(row, []).append(image)
    return found


def test_the_views_of_an_image_differ_and_keep_its_label(table: Table) -> None:
    for batch in loader(table).epoch(0):
        views = images_by_row([batch])
        assert [len(images) for images in views.values()] == [2] * 4
        assert all(not torch.equal(*images) for images in views.values())
        np.testing.assert_array_equal(batch.labels, LABELS[batch.rows])


def test_the_first_view_is_the_picture_of_a_run_without_views(table: Table) -> None:
    once = images_by_row(list(loader(table, order("instance", views=1, batch_size=4)).epoch(0)))
    twice = images_by_row(list(loader(table, order("instance")).epoch(0)))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[row][0], twice[row][0]) for row in once)


def test_two_processes_and_two_workers_and_a_resume_read_what_one_reads(table: Table) -> None:
    whole = list(loader(table).epoch(2))
    shares = [list(loader(table, rank=rank, world_size=2).epoch(2)) for rank in range(2)]
    resumed = list(loader(table, num_workers=2).epoch(2, start_step=2))
    for batch, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
    for batch, again in zip(whole[2:], resumed, strict=True):
        assert torch.equal(batch.images, again.images)
        assert torch.equal(batch.rows, again.rows)
