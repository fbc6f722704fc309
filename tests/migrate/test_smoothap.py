from __future__ import annotations

import pytest
from example_lines import check_examples, examples_of, meaning, resolved

from shelfmark.migrate.dialects import translate
from shelfmark.migrate.notes import INERT
from shelfmark.migrate.smoothap import SMOOTH_AP, SMOOTH_AP_EVALUATION

LINE = "python main.py --dataset vehicle_id"
EXAMPLES = examples_of("""
    --dataset vehicle_id -> train.num_epochs=400 eval.recall_at=[1,5]
    --lr 1e-4 -> optim.lr=0.0001
    --fc_lr_mul 0 -> optim.non_backbone_lr_factor=1
    --n_epochs 7 -> train.num_epochs=7
    --kernels 2 -> data.num_workers=2
    --bs 64 -> train.batch_size=64
    --samples_per_class 2 -> sampling.images_per_class=2
    --seed 5 -> seed=5
    --scheduler exp --n_epochs 4 -> train.num_epochs=4 optim.schedule.milestones_epochs=[1,2,3]
    --gamma 0.5 -> optim.schedule.gamma=0.5
    --decay 1e-3 -> optim.weight_decay=0.001
    --tau 10 20 -> optim.schedule.milestones_epochs=[10,20]
    --infrequent_eval 1 -> eval.every_epochs=1 | INERT
    --opt sgd -> optim.name=sgd optim.momentum=0
    --loss smoothap; --arch resnet50
    --sigmoid_temperature 0.1 -> losses.0.temperature=0.1
    --k_vals 1 2 -> eval.recall_at=[1,5] | INERT
    --resume x => --RESUME_MODEL x --mode finetune | --RESUME_MODEL reads
    --embed_dim 64 -> model.embedding_dim=64
    --grad_measure; --dist_measure | LACKS
    --not_pretrained -> model.weights=
    --gpu 1 => --gpu_ids 1
    --savename a -> name=a
    --source_path /data -> data.root=/data/vehicle_id | the folder that holds vehicle_id/
    --save_path out -> output.log_root=out
""")
EVALUATION_LINE = "python evaluate_model.py --dataset vehicle_id"
EVALUATION_EXAMPLES = examples_of("""
    --dataset vehicle_id => --RESUME_MODEL {run}/best_model
    --source_path /data -> data.root=/data/vehicle_id | the folder that holds vehicle_id/
    --kernels 2 -> data.num_workers=2
    --k_vals 1 2 -> eval.recall_at=[1,5] | INERT
    --samples_per_class 4; --loss smoothap; --embed_dim 512; --arch resnet50; --not_pretrained | IN_CHECKPOINT
    --bs 64 -> eval.batch_size=64
    --gpu 1 | CUDA_VISIBLE_DEVICES
    --resume x => --RESUME_MODEL x | --RESUME_MODEL reads
    --savename a; --save_path out | LACKS
""")


def test_each_flag_means_what_its_example_says() -> None:
    check_examples(LINE, SMOOTH_AP, EXAMPLES)
    check_examples(EVALUATION_LINE, SMOOTH_AP_EVALUATION, EVALUATION_EXAMPLES)


def test_what_is_not_typed_has_the_default_of_the_original_and_not_that_of_the_recipe() -> None:
    species = resolved("python main.py --dataset Inaturalist")
    assert (species.train.batch_size, species.optim.non_backbone_lr_factor, species.eval.every_epochs) == (112, 5, 1)


def test_on_species_the_values_of_the_original_hold_whatever_is_typed() -> None:
    found = translate("python main.py --dataset Inaturalist --n_epochs 100 --tau 1 2 --k_vals 1 2 --infrequent_eval 1")
    assert {one.key: one.value for one in found.overrides}.items() >= {
        "train.num_epochs": 90,
        "optim.schedule.milestones_epochs": [40, 70],
        "eval.recall_at": [1, 4, 16, 32],
        "eval.every_epochs": 10,
    }.items()
    assert [note.split(":")[0] for note in found.notes if INERT in note] == [
        *("--n_epochs 100", "--tau 1 2", "--k_vals 1 2")
    ]


@pytest.mark.parametrize(("scheduler", "milestones"), [("none", None), ("step", [3, 5]), ("exp", [1, 2, 3, 4, 5, 6])])
def test_milestones_are_for_steps_alone(scheduler: str, milestones: list[int] | None) -> None:
    found = meaning(f"{LINE} --tau 3 5 --n_epochs 7 --scheduler {scheduler}")
    assert found.get("optim.schedule.milestones_epochs") == milestones


def test_the_gpu_that_is_typed_rules_over_the_environment() -> None:
    found = translate("CUDA_VISIBLE_DEVICES=3 python main.py --dataset vehicle_id --gpu 1")
    assert (found.environment, found.options) == ({}, ["--gpu_ids", "1"])
    assert any(note.startswith("CUDA_VISIBLE_DEVICES: no effect") for note in found.notes)
    assert translate(f"CUDA_VISIBLE_DEVICES=3 {EVALUATION_LINE} --gpu 1").environment == {"CUDA_VISIBLE_DEVICES": "1"}
    assert translate(f"CUDA_VISIBLE_DEVICES=3 {EVALUATION_LINE}").environment == {"CUDA_VISIBLE_DEVICES": "3"}
