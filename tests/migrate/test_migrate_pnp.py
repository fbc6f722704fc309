from __future__ import annotations

from typing import Any

import pytest
from example_lines import check_examples, examples_of, meaning, resolved
from published_commands import PNP as PUBLISHED

from shelfmark.migrate.pnp import PNP

LINE = "python main.py --loss PNP"
EXAMPLES = examples_of("""
    --dataset online_products; --loss PNP
    --use_tv_split; --tv_split_by_samples; --tv_split_perc 0.8 | LACKS
    --augmentation big -> data.input_size_px=256 data.eval_crop=1
    --lr 1e-4 -> optim.lr=0.0001
    --fc_lr 1e-4 -> optim.non_backbone_lr_factor=10
    --decay 1e-3 -> optim.weight_decay=0.001
    --n_epochs 7 -> train.num_epochs=7
    --kernels 2 -> data.num_workers=2
    --bs 64 -> train.batch_size=64
    --seed 5 -> seed=5
    --scheduler none -> optim.schedule.name=constant
    --gamma 0.5 -> optim.schedule.gamma=0.5
    --tau 10 20 -> optim.schedule.milestones_epochs=[10,20]
    --optim sgd -> optim.name=sgd optim.momentum=0.9
    --embed_dim 64 -> model.embedding_dim=64
    --not_pretrained -> model.weights=
    --arch resnet50_normalize -> model.freeze_bn=false
    --no_train_metrics; --evaltypes discriminative; --gpu 0 1; --margin 0.5 | INERT
    --evaluate_on_gpu | NEEDLESS
    --evaluation_metrics e_recall@10 e_recall@1 nmi -> eval.recall_at=[1,10] | --legacy-metrics pnp
    --storage_metrics e_recall@10 -> eval.metric=recall@10 | held out
    --savename 'my run' -> name=my-run
    --source_path /data -> data.root=/data/online_products
    --save_path out -> output.log_root=out
    --multi-gpu => --num-gpus 2
    --resume x => --RESUME_MODEL x --mode finetune | --RESUME_MODEL reads
    --data_sampler class_random -> sampling.type=pk | twice for a batch
    --samples_per_class 3 -> sampling.images_per_class=3
    --variant PNP-I_u -> losses.0.variant=I_u
    --alpha 3 | for PNP-D_q alone
    --b 3 | for PNP-I_b alone
    --anneal 0.1 -> losses.0.temperature=0.1
    --log_online; --wandb_key k; --project p; --group g | LACKS
    --data_batchmatch_bigbs 1; --data_batchmatch_ncomps 1; --data_d2_coreset_lambda 1; --data_gc_coreset_lim 1 | INERT
    --data_sampler_lowproj_dim 1; --data_sim_measure 1; --data_mb_mom 1; --data_mb_lr 1 | INERT
    --data_storage_no_update; --data_gc_softened; --data_idx_full_prec; --miner_distance_lower_cutoff 1 | INERT
    --miner_distance_upper_cutoff 1; --miner_rho_distance_lower_cutoff 1; --miner_rho_distance_cp 1 | INERT
    --miner_rho_distance_upper_cutoff 1 | INERT
""")


def test_each_flag_means_what_its_example_says() -> None:
    check_examples(LINE, PNP, EXAMPLES)


def test_the_published_line_has_thirteen_flags_and_each_is_known() -> None:
    flags = [word.removeprefix("--") for word in PUBLISHED.split() if word.startswith("--")]
    assert len(flags) == 13
    assert set(flags) - PNP.keys() == {"source"}


def test_what_is_not_typed_has_the_default_of_the_original_and_not_that_of_the_recipe() -> None:
    bare = resolved(LINE)
    assert (bare.seed, bare.train.batch_size, bare.train.num_epochs, bare.model.embedding_dim) == (1, 112, 150, 128)
    assert (bare.losses[0].variant, bare.sampling.images_per_class) == ("O", 2)  # type: ignore[union-attr]
    assert (bare.optim.lr, bare.optim.non_backbone_lr_factor, bare.optim.schedule.milestones_epochs[0]) == (
        1e-5,
        1,
        120,
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--variant PNP-D_q --alpha 3", {"losses.0.variant": "D_q", "losses.0.alpha": 3}),
        ("--variant PNP-D_q", {"losses.0.variant": "D_q", "losses.0.alpha": 1}),
        ("--variant PNP-I_b --b 0.5", {"losses.0.variant": "I_b", "losses.0.b": 0.5}),
        ("--variant PNP-D_s", {"losses.0.variant": "D_s"}),
    ],
)
def test_a_variant_takes_its_own_parameter_alone(typed: str, expected: dict[str, Any]) -> None:
    keys = ("losses.0.variant", "losses.0.alpha", "losses.0.b")
    assert {key: value for key, value in meaning(f"{LINE} {typed}").items() if key in keys} == expected


@pytest.mark.parametrize("written", ["--source /d", "--source=/d", "--so /d", "--source_path /d", "--source_p=/d"])
def test_a_flag_may_be_cut_short_where_it_stays_the_only_one(written: str) -> None:
    assert meaning(f"{LINE} {written}")["data.root"] == "/d/online_products"


def test_a_whole_name_is_itself_though_it_begins_another() -> None:
    assert meaning(f"{LINE} --b 3 --lr 1")["optim.lr"] == 1
