"""Random numbers that need no generator."""

from __future__ import annotations

import oracles_pairs
import pytest
import torch

from shelfmark.ops.draws import uniform


def test_the_numbers_are_those_of_split_mix_64_in_whole_numbers():
    rows = torch.tensor([0, 1, 7, 2**40, 5])
    numbers = uniform(2**62 + 12345, 31, rows, 6)
    expected = [[oracles_pairs.uniform(2**62 + 12345, 31, row, place) for place in range(6)] for row in rows.tolist()]
    assert numbers.tolist() == expected
    assert numbers.dtype == torch.float64


def test_the_oracle_s_stream_is_the_published_one():
    # The first numbers of SplitMix64 from seed 1234567, as its reference implementation prints them.
    stream = [oracles_pairs.split_mix_64(1234567, place) for place in range(3)]
    assert stream == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_number_depends_on_its_own_row_and_place_alone():
    whole = uniform(3, 9, torch.arange(50), 8)
    assert torch.equal(uniform(3, 9, torch.tensor([41, 6]), 5), whole[[41, 6], :5])


@pytest.mark.parametrize(("seed", "step"), [(4, 9), (3, 10), (-3, 9)])
def test_another_seed_or_step_gives_other_numbers(seed, step):
    rows = torch.arange(20)
    assert not (uniform(seed, step, rows, 4) == uniform(3, 9, rows, 4)).any()


def test_the_numbers_are_uniform_and_independent():
    numbers = uniform(0, 0, torch.arange(400), 100)
    assert 0 <= float(numbers.min()) < 1e-3
    assert 1 - 1e-3 < float(numbers.max()) < 1
    tenths = torch.histc(numbers, bins=10, min=0, max=1) / numbers.numel()
    # Five standard deviations of a tenth's share.
    assert (tenths - 0.1).abs().max() < 5 * (0.09 / 40_000) ** 0.5
    neighbours = torch.stack([numbers[:-1, :-1], numbers[1:, :-1], numbers[:-1, 1:]]).reshape(3, -1)
    correlations = torch.corrcoef(neighbours) - torch.eye(3)
    assert correlations.abs().max() < 5 / 39_000**0.5


def test_no_rows_or_no_draws_give_an_empty_tensor():
    assert uniform(0, 0, torch.arange(0), 4).shape == (0, 4)
    assert uniform(0, 0, torch.arange(4), 0).shape == (4, 0)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    uniform(0, 0, torch.arange(4), 4)
    assert torch.equal(torch.get_rng_state(), before)
