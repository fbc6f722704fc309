"""Which of the ways to take a batch through the network fit together, and which losses allow them."""

from __future__ import annotations

import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.losses import LOSSES
from shelfmark.recipe import Recipe

HEADS = ["model.heads.rank.dim=8", "model.heads.proxies={type: proxy, dim: 8}", "train.batch_size=32"]


def loaded(*options: str) -> Recipe:
    return load(Recipe, None, [parse_override(word) for word in (*HEADS, *options)]).config


@pytest.mark.parametrize("loss", ["smooth_ap", "triplet", "sup_con", "pml, loss: NTXentLoss"])
def test_a_loss_of_the_whole_batch_cannot_be_accumulated_and_the_way_out_is_named(loss: str) -> None:
    options = f"losses=[{{name: cross_entropy}}, {{name: {loss}, head: rank}}]"
    with pytest.raises(UserError, match=rf"losses\.1, {loss[:3]}.*train\.grad_cache=N .* exact gradient of any loss"):
        loaded(options, "train.accumulate_steps=2")
    assert loaded(options, "train.grad_cache=8").train.accumulate_steps == 1


def test_a_proxy_loss_is_accumulated_where_it_is_a_sum_over_images() -> None:
    assert loaded("losses=[{name: proxy_nca, head: proxies}]", "train.accumulate_steps=4").train.accumulate_steps == 4
    with pytest.raises(UserError, match="proxy_anchor, depends on the batch as a whole"):
        loaded("losses=[{name: proxy_anchor, head: proxies}]", "train.accumulate_steps=4")
    assert LOSSES["proxy_nca"].adds_over_rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["train.grad_cache=4", "train.accumulate_steps=2"], "both take the batch in parts"),
        (["train.grad_cache=4", "train.compile=true"], "the same random numbers, which compiled code does not promise"),
        (["train.grad_cache=4", "model.grad_checkpointing=true"], "keeps the activations of one part only"),
        (["train.accumulate_steps=33"], "33 parts of train.batch_size=32 images cannot be made"),
        (["train.accumulate_steps=0"], "train.accumulate_steps=0 must be a whole number above 0"),
        (["train.ema.decay=1"], "train.ema.decay=1"),
        (["train.compile=yes"], "train.compile='yes'"),
    ],
)
def test_what_does_not_fit_is_refused(options: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        loaded(*options)
    assert message in str(refused.value)
