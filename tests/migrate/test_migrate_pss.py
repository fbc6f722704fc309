"""The command lines of PSS and Hi-LANDER."""

from __future__ import annotations

import pytest
from example_lines import check_examples, examples_of, recipe, resolved

from shelfmark.migrate.dialects import translate
from shelfmark.migrate.hilander import HILANDER, HILANDER_TEST
from shelfmark.migrate.pss import PSS, PSS_CHECKPOINT, PSS_LATER

SETS = "--trainset lin_train_set1.txt --testset Inaturalist_test_set1.txt --linsize 29011 --uinsize 18403"
EMBEDDER = f"--dataset Inaturalist --lr 1e-5 --fc_lr_mul 1 --bs 384 --embed_dim 128 --class_num 948 {SETS}"
GRAPH = "--hidden 512 --num_conv 1 --gat --balance --faiss_gpu"
FIRST = "python main.py --dataset Inaturalist --iter 0"

OF_ALL = """
    --dataset Inaturalist
    --kernels 2 -> data.num_workers=2
    --k_vals 1 2 -> eval.recall_at=[1,4,16,32] | INERT
    --use_bn_in_head False; --norm_last_layer True; --gpu 1; --savename a; --tau 10 20 | INERT
    --grad_measure; --dist_measure | LACKS
    --source_path /data -> data.root=/data/Inaturalist
    --trainset mine.txt | `shelfmark prepare pss` reads lin_train_set1.txt
    --testset Inaturalist_test_set1.txt; --all_trainset train_set1.txt; --finetune true; --get_features false | NEEDLESS
    --class_num 948; --linsize 29011; --uinsize 18403 | NEEDLESS
    --onehead | one numbering
"""
EXAMPLES = examples_of(f"""{OF_ALL}
    --lr 1e-4 -> optim.lr=0.0001
    --fc_lr_mul 0 -> optim.non_backbone_lr_factor=1
    --n_epochs 7 -> train.num_epochs=7
    --bs 64 -> train.batch_size=64
    --samples_per_class 2 -> sampling.images_per_class=2
    --seed 5 -> seed=5
    --scheduler none -> optim.schedule.name=constant -optim.schedule.milestones_epochs
    --gamma 0.5 -> optim.schedule.gamma=0.5
    --decay 1e-2 -> optim.weight_decay=0.01
    --infrequent_eval 1 -> eval.every_epochs=5
    --opt sgd -> optim.name=sgd optim.momentum=0
    --loss ams -> 'losses=[{{name: cosface, head: classifier, margin: 0.3, scale: 30}}]' \
 'model.classifier={{type: cosine, scale: 30}}' -losses.0.temperature | ends with an error
    --sigmoid_temperature 0.1 -> losses.0.temperature=0.1
    --resume x | LACKS
    --embed_dim 64 -> model.embedding_dim=64
    --arch vit_small -> model.backbone=vit_small_patch16_224 model.freeze=[] model.weights=pretrained \
 'model.backbone_options={{drop_path_rate: 0.1}}' -model.embedding_dim | the first commit
    --patch_size 8; --pretrained_weights x.pth; --checkpoint_key teacher; --drop_path_rate 0.2 | for the ViT
    --not_pretrained -> model.weights=
    --save_path out -> output.log_root=out
    --cluster_path c.pkl | prepare pss_clusters --source c.pkl
    --iter 3 -> discovery.rounds=4
""")
LATER_EXAMPLES = EXAMPLES | examples_of("""
    --decay 1e-2 -> discovery.later_weight_decay=0.01
    --infrequent_eval 1 | that of round 0
""")
CHECKPOINT_EXAMPLES = examples_of(f"""{OF_ALL}
    --lr 1e-4; --fc_lr_mul 0; --n_epochs 7; --samples_per_class 2; --seed 5; --scheduler step; --gamma 0.5 | INERT
    --decay 1e-2; --infrequent_eval 1; --opt sgd; --sigmoid_temperature 0.1; --cluster_path c.pkl | INERT
    --bs 64 -> eval.batch_size=64
    --loss ams; --embed_dim 64; --arch vit_small; --patch_size 8; --pretrained_weights x.pth | IN_CHECKPOINT
    --checkpoint_key teacher; --drop_path_rate 0.2; --not_pretrained | IN_CHECKPOINT
    --save_path out | LACKS
    --resume x => --RESUME_MODEL x | --RESUME_MODEL reads
    --iter 1 => --RESUME_MODEL {{run}}/round_1/train/best_model
""")
HILANDER_EXAMPLES = examples_of(
    """
    --data_path b.pkl => --embeddings b --out lander
    --levels 2,3,4 --knn_k 10,5,3 -> LANDER.levels=[2,3,4] LANDER.ks=[10,5,3]
    --faiss_gpu; --num_workers 4 | INERT
    --model_filename m.pth => --embeddings a --out m
    --knn_k 7 -> LANDER.ks=[7]
    --hidden 64 -> LANDER.hidden=64
    --num_conv 2 -> LANDER.num_layers=2
    --dropout 0.5; --momentum 0.5 | LACKS
    --gat -> LANDER.layer=gat
    --gat_k 3 -> LANDER.heads=3
    --balance -> LANDER.balance=true
    --use_cluster_feat -> LANDER.cluster_features=true
    --use_focal_loss -> LANDER.focal=true
    --epochs 5 -> LANDER.epochs=5
    --batch_size 64 -> LANDER.batch_size=64
    --lr 0.01 -> LANDER.lr=0.01
    --weight_decay 1e-4 -> LANDER.weight_decay=0.0001
""".replace("LANDER", "discovery.clusterer.lander")
)
HILANDER_TEST_EXAMPLES = examples_of(
    """
    --data_path b.pkl => --embeddings b --clusterer lander --out data/features
    --model_filename m.pth => --embeddings a --clusterer m --out data/features
    --output_filename data/out.pkl => --embeddings a --clusterer lander --out data/out
    --faiss_gpu; --num_workers 4; --batch_size 64; --midpoint false; --inclasses 948 | INERT
    --knn_k 20 -> discovery.clusterer.k=20
    --levels 10 -> LANDER.max_levels=10
    --tau 0.9 -> LANDER.tau=0.9
    --early_stop -> LANDER.early_stop=true
    --threshold sim; --use_gt; --mode recluster; --draw true | LACKS
    --hidden 1; --num_conv 1; --dropout 1; --gat_k 1; --gat; --balance; --use_cluster_feat; --use_focal_loss | NEEDLESS
    --metrics nmi; --linsize 29011; --uinsize 18403 | NEEDLESS
    --thresh 0.8 --mode selectbydensity -> discovery.selection.density_threshold=0.8 \
 => --embeddings a/unlabelled --clusterer lander --out data/features
""".replace("LANDER", "discovery.clusterer.lander")
)


def test_each_flag_of_pss_means_what_its_example_says() -> None:
    check_examples(FIRST, PSS, EXAMPLES)
    check_examples("python finetune_1head.py", PSS_LATER, LATER_EXAMPLES)
    line = "python evaluate_model.py --dataset Inaturalist --iter 0"
    check_examples(line, PSS_CHECKPOINT, CHECKPOINT_EXAMPLES)


def test_each_flag_of_hi_lander_means_what_its_example_says() -> None:
    check_examples("python train_subg_inat.py --data_path a.pkl", HILANDER, HILANDER_EXAMPLES)
    check_examples("python test_subg_inat.py --data_path a.pkl", HILANDER_TEST, HILANDER_TEST_EXAMPLES)


def test_the_usual_values_are_told_nothing() -> None:
    assert translate(f"{FIRST} --arch resnet50 --loss smoothap --tau 40 70 --k_vals 1 4 16 32").notes == (
        translate(FIRST).notes
    )
    line = "python train_subg.py --data_path a.pkl"
    assert translate(f"{line} --dropout 0.0 --momentum 0.90").notes == translate(line).notes
    line = "python test_subg.py --data_path a.pkl"
    assert translate(f"{line} --threshold prob --mode selectbydensity --thresh 0.8").notes == translate(line).notes


def test_the_published_commands_are_the_rounds_of_the_recipe() -> None:
    published = recipe("discovery/pss_inat")
    last = f"python finetune_1head.py {EMBEDDER} --cluster_path c.pkl --iter 4"
    assert resolved(last) == published
    first = resolved(f"python main.py {EMBEDDER} --infrequent_eval 1 --iter 0")
    assert first.discovery.rounds == 1
    again = first.discovery.model_copy(update={"rounds": 5})
    assert first.model_copy(update={"discovery": again}) == published
    assert translate(last).command == ("discover",)


def test_the_published_commands_of_hi_lander_are_the_network_of_the_recipe() -> None:
    published = recipe("discovery/pss_inat")
    training = "--knn_k 10,5,3 --levels 2,3,4 --epochs 1000 --lr 0.01 --batch_size 4096"
    fit = f"python train_subg_inat.py --data_path data/t.pkl --model_filename data/l.pth {training} {GRAPH}"
    assert (resolved(fit), translate(fit).command) == (published, ("cluster", "fit"))
    assert translate(fit).options == ["--embeddings", "data/t", "--out", "data/l"]
    clustering = "--knn_k 10 --level 10 --tau 0.9 --threshold prob --early_stop --mode selectbydensity --thresh 0.8"
    run = f"python test_subg_inat.py --data_path data/a.pkl --model_filename data/l.pth {clustering} {GRAPH}"
    assert (resolved(run), translate(run).command) == (published, ("cluster", "run"))


def test_what_is_not_typed_has_the_default_of_the_original_and_not_that_of_the_recipe() -> None:
    embedder = resolved(FIRST)
    assert (embedder.train.batch_size, embedder.model.embedding_dim, embedder.optim.non_backbone_lr_factor) == (
        112,
        512,
        5,
    )
    assert embedder.eval.every_epochs == 1
    network = resolved("python train_subg.py --data_path a.pkl").discovery.clusterer.lander
    assert (network.ks, network.levels, network.layer, network.balance) == ((10,), (1,), "gcn", False)
    assert (network.epochs, network.batch_size, network.lr) == (100, 1024, 0.1)
    clusterer = resolved("python test_subg.py --data_path a.pkl").discovery.clusterer
    found = clusterer.lander
    assert (clusterer.k, found.max_levels, found.tau, found.early_stop) == (10, 1, 0.5, False)


def test_the_vit_of_the_first_commit_is_its_own_recipe() -> None:
    line = "python main.py --dataset Inaturalist --arch vit_base --patch_size 16 --fc_lr_mul 0 --embed_dim 768 --bs 384"
    line += " --iter 4 --pretrained_weights dino_vitbase16_pretrain.pth --infrequent_eval 1"
    assert translate(line).recipe == "discovery/pss_inat_vit"
    assert resolved(line) == recipe("discovery/pss_inat_vit")
    changed = resolved(f"{line} --drop_path_rate 0 --pretrained_weights mine.pth")
    assert (changed.model.weights, changed.model.backbone_options) == ("mine.pth", {"drop_path_rate": 0})
    assert resolved(f"{line} --not_pretrained").model.weights == ""
    tiny = resolved(line.replace("vit_base", "vit_tiny"))
    assert (tiny.model.backbone, tiny.model.freeze) == ("vit_tiny_patch16_224", ())
    assert any(note.startswith("--embed_dim 768: no effect") for note in translate(line).notes)


@pytest.mark.parametrize(("loss", "ours"), [("ce", "cross_entropy"), ("ams", "cosface"), ("smoothap", "smooth_ap")])
def test_each_loss_becomes_one_that_trains(loss: str, ours: str) -> None:
    assert [one.name for one in resolved(f"{FIRST} --loss {loss}").losses] == [ours]


def test_features_and_scores_come_from_the_checkpoint_of_their_round() -> None:
    features = translate("python get_features.py --bs 384 --iter 2")
    assert (features.command, features.reads, features.tests) == (("embed",), "checkpoint", ())
    assert features.options == [
        *["--RESUME_MODEL", "{run}/round_2/train/best_model"],
        *["--annotations", "dataset/pss/discovery.json", "--out", "{run}/features_2"],
    ]
    scores = translate("python evaluate_model.py --dataset Inaturalist --class_num 948 --resume x")
    assert (scores.tests, scores.options) == (("dataset/pss/test.json",), ["--RESUME_MODEL", "x"])
