"""`model.classifier.init: class_means`: a cosine classifier that begins as a nearest class mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_recipe import SMALL

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.engine.precision import Precision
from shelfmark.pipelines.train import train
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.class_means import begin_with_class_means
from shelfmark.runtime.image_pass import evaluation_pass
from shelfmark.runtime.splits import read_splits

CPU = torch.device("cpu")
MEANS = [*SMALL, "model.classifier.type=cosine", "model.classifier.init=class_means", "train.precision=fp32"]


def loaded(*more):
    return load(Recipe, Path("configs/shop.yaml"), [parse_override(word) for word in (*MEANS, *more)])


def test_every_class_begins_with_the_mean_direction_of_its_images_and_one_without_stays(small):
    recipe = loaded("data.train_json=val_small.json").config
    table = assemble.read_table(recipe, "train", num_classes=120)
    network = assemble.network(recipe, table.num_classes)
    first = network.classifier.weight.detach().clone()
    state = {name: value.clone() for name, value in network.state_dict().items()}

    begin_with_class_means(network, recipe, table, Precision.resolve("fp32", CPU))

    network.eval()
    expected = torch.zeros(120, first.shape[1], dtype=torch.float64)
    source = assemble.image_source(recipe, table)
    for batch in evaluation_pass(recipe, network, Precision.resolve("fp32", CPU), source).share():
        for row, feature in zip(batch.rows, batch.values.double()):
            expected[table.labels[row]] += feature / feature.norm()
    seen = torch.from_numpy(table.counts) > 0
    assert 0 < seen.sum() < 120
    expected = expected[seen] / expected[seen].norm(dim=1, keepdim=True)
    torch.testing.assert_close(network.classifier.weight[seen].double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(network.classifier.weight[~seen], first[~seen])
    changed = {name for name, value in network.state_dict().items() if not value.equal(state[name])}
    assert changed == {"classifier.weight"}
    assert network.train().training


def test_only_a_new_model_begins_so(small, capsys, caplog):
    document = json.loads(Path("dataset/shop/train.json").read_text())
    Path("some.json").write_text(json.dumps({**document, "annotations": document["annotations"][:200]}))
    options = ["data.train_json=some.json", "data.retrieval_json=null", "train.num_epochs=1"]
    run = loaded(*options, "name=new", "train.steps_per_epoch=2")
    folder, _ = train(run)
    said = "begins with the class means"
    assert caplog.text.count(said) == 1
    train(loaded(*options, "name=on", "train.steps_per_epoch=2"), folder / "best_model", "finetune")
    assert caplog.text.count(said) == 1


def test_a_small_run_takes_the_means_of_two_batches(small):
    recipe = loaded("eval.batch_size=16").config
    few, all_of_them = read_splits(recipe, small=True), read_splits(recipe)
    assert len(few.for_means) == 32
    assert len(few.train) == len(all_of_them.train) == len(all_of_them.for_means) > 4000
    assert len(set(few.for_means.labels.tolist())) > 20


def test_a_linear_classifier_has_no_directions_to_begin_with():
    with pytest.raises(UserError, match="init=class_means needs a cosine classifier, not type=linear"):
        load(Recipe, None, [parse_override("model.classifier.init=class_means")])
