from __future__ import annotations

import re
from pathlib import Path

from example_lines import check_examples, examples_of, meaning, recipe, resolved

from shelfmark.migrate.dialects import translate
from shelfmark.migrate.fastretri.flags import FASTRETRI_FLAGS
from shelfmark.migrate.fastretri.keys import FASTRETRI

LINE = "train_net.py --config-file cub.yml"
EXAMPLES = examples_of("""
    MODEL.META_ARCHITECTURE Distiller; MODEL.BACKBONE.NAME build_osnet_backbone; MODEL.HEADS.NAME ClasHead | LACKS
    MODEL.DEVICE cuda:0 -> train.device=cuda
    MODEL.BACKBONE.DEPTH 101x -> model.backbone=resnet101 model.weights=pretrained
    MODEL.BACKBONE.NORM BN -> model.freeze_bn=false model.freeze_bn_affine=false
    MODEL.BACKBONE.LAST_STRIDE 2 -> model.last_stride=2
    MODEL.BACKBONE.FEAT_DIM 2048 | NEEDLESS
    MODEL.BACKBONE.WITH_IBN True; MODEL.BACKBONE.WITH_SE True; MODEL.BACKBONE.WITH_NL True | in the recipe it is False
    MODEL.BACKBONE.PRETRAIN False -> model.weights=
    MODEL.BACKBONE.PRETRAIN_PATH r50.pth -> model.weights=r50.pth
    MODEL.HEADS.NUM_CLASSES 100 -> data.num_classes=100
    MODEL.HEADS.EMBEDDING_DIM 512 -> model.embedding_dim=512
    MODEL.HEADS.NORM syncBN | its own part of the batch
    MODEL.HEADS.WITH_BNNECK False -> model.neck=none
    MODEL.HEADS.NECK_FEAT before; SOLVER.BIAS_LR_FACTOR 2; SOLVER.WEIGHT_DECAY_BIAS 0; CUDNN_BENCHMARK False | INERT
    MODEL.HEADS.POOL_LAYER GeneralizedMeanPoolingP -> model.pooling.trainable=true model.pooling.name=gem
    MODEL.HEADS.CLS_LAYER ArcSoftmax MODEL.HEADS.SCALE 32 MODEL.HEADS.MARGIN 0.5 \
 -> 'losses=[{name: arcface, head: classifier, margin: 0.5, scale: 32}]' 'model.classifier={type: cosine, scale: 32}' \
 | no label smoothing
    MODEL.HEADS.SCALE 32; MODEL.HEADS.MARGIN 0.2 | for cosine classifiers
    MODEL.LOSSES.NAME "('CrossEntropyLoss', 'TripletLoss')" | TripletLoss
    MODEL.LOSSES.CE.EPSILON 0.2 -> losses.0.label_smoothing=0.2
    MODEL.LOSSES.CE.ALPHA 0.3 MODEL.LOSSES.CE.EPSILON -1 -> losses.0.label_smoothing=-1 losses.0.adaptive_factor=0.3
    MODEL.LOSSES.CE.SCALE 2.0 -> losses.0.weight=2
    MODEL.WEIGHTS x => --RESUME_MODEL x --mode finetune | --RESUME_MODEL reads
    MODEL.PIXEL_MEAN "[127.5, 127.5, 127.5]" -> data.mean=[0.5,0.5,0.5]
    MODEL.PIXEL_STD "[51, 51, 51]" -> data.std=[0.2,0.2,0.2]
    MODEL.FREEZE_LAYERS "['backbone']"; DATASETS.TESTS "('SOP',)"; INPUT.CROP.ENABLED False | LACKS
    DATASETS.NAMES "('SOP',)" -> data.root=dataset/Stanford_Online_Products data.train_json=dataset/sop/train.json \
 data.retrieval_json=dataset/sop/val_retrieval.json
    INPUT.SIZE_TRAIN "[256, 256]" -> augment.resize_px=[256,256]
    INPUT.SIZE_TEST [0] -> data.eval_resize_px=[]
    INPUT.CROP.SIZE "[256, 256]" -> data.input_size_px=256
    INPUT.CROP.SCALE "[0.08, 1]" -> augment.crop_scale=[0.08,1]
    INPUT.CROP.RATIO "(1, 1)" -> augment.crop_ratio=[1,1]
    INPUT.FLIP.ENABLED False -> augment.flip=0
    INPUT.FLIP.PROB 0.3 -> augment.flip=0.3
    INPUT.CJ.ENABLED False -> augment.color_jitter=[0,0,0,0]
    INPUT.CJ.PROB 0.8 -> augment.color_jitter_probability=0.8
    INPUT.CJ.BRIGHTNESS 0.1 -> augment.color_jitter=[0.1,0.25,0.25,0]
    INPUT.CJ.CONTRAST 0.1 -> augment.color_jitter=[0.25,0.1,0.25,0]
    INPUT.CJ.SATURATION 0.1 -> augment.color_jitter=[0.25,0.25,0.1,0]
    INPUT.CJ.HUE 0.1 -> augment.color_jitter=[0.25,0.25,0.25,0.1]
    INPUT.AUTOAUG.ENABLED True; INPUT.AUGMIX.ENABLED True; INPUT.RPT.ENABLED True; INPUT.PADDING.ENABLED True | LACKS
    INPUT.AFFINE.ENABLED True | LACKS
    INPUT.REA.ENABLED True -> augment.erasing=0.5
    INPUT.REA.PROB 0.3 | INPUT.REA.ENABLED is False
    DATALOADER.SAMPLER_TRAIN NaiveIdentitySampler DATALOADER.NUM_INSTANCE 8 \
 -> sampling.type=pk sampling.images_per_class=8
    DATALOADER.NUM_INSTANCE 8 | for the samplers of identities
    DATALOADER.NUM_WORKERS 2 -> data.num_workers=2
    SOLVER.MAX_EPOCH 7 -> train.num_epochs=7
    SOLVER.OPT Adam -> optim.name=adam
    SOLVER.BASE_LR 0.01 -> optim.lr=0.01 optim.schedule.final_factor=0.002
    SOLVER.ETA_MIN_LR 1e-4 -> optim.lr=0.02 optim.schedule.final_factor=0.005
    SOLVER.HEADS_LR_FACTOR 10 -> optim.non_backbone_lr_factor=10
    SOLVER.MOMENTUM 0.9 -> optim.momentum=0.9
    SOLVER.NESTEROV True -> optim.nesterov=true
    SOLVER.WEIGHT_DECAY 1e-4 -> optim.weight_decay=0.0001
    SOLVER.WEIGHT_DECAY_NORM 0 -> optim.decay_norm_and_bias=false | or, with 0, not at all
    SOLVER.SCHED MultiStepLR SOLVER.STEPS "[10, 20]" SOLVER.GAMMA 0.2 -> optim.schedule.name=multistep \
 optim.schedule.per_epoch=false optim.schedule.milestones_epochs=[10,20] optim.schedule.gamma=0.2 \
 | from the end of the warm-up
    SOLVER.STEPS [10]; SOLVER.GAMMA 0.2 | INERT
    SOLVER.DELAY_EPOCHS 5; SOLVER.WARMUP_METHOD constant; SOLVER.FREEZE_ITERS 100; TEST.PRECISE_BN.ENABLED True | LACKS
    SOLVER.WARMUP_FACTOR 0.5 -> optim.schedule.warmup_factor=0.5
    SOLVER.WARMUP_ITERS 100 -> optim.schedule.warmup_steps=100
    SOLVER.CLIP_GRADIENTS.ENABLED False -> optim.clip_norm=0
    SOLVER.CLIP_GRADIENTS.CLIP_VALUE 1.0 -> optim.clip_norm=1
    SOLVER.CLIP_GRADIENTS.CLIP_TYPE value; SOLVER.CLIP_GRADIENTS.NORM_TYPE 1.0; TEST.FLIP.ENABLED True | LACKS
    SOLVER.AMP.ENABLED False -> train.precision=fp32
    SOLVER.IMS_PER_BATCH 64 -> train.batch_size=64
    SOLVER.CHECKPOINT_PERIOD 5 -> train.checkpoint_every_epochs=5
    TEST.EVAL_PERIOD 5 -> eval.every_epochs=5
    TEST.IMS_PER_BATCH 64 -> eval.batch_size=64
    TEST.RECALLS "[1, 2]" -> eval.recall_at=[1,2]
    TEST.METRIC euclidean; TEST.AQE.ENABLED True; TEST.RERANK.ENABLED True; TEST.ROC.ENABLED True | INERT
    OUTPUT_DIR logs/cub/r50 -> output.log_root=logs/cub name=r50
""")
FLAG_EXAMPLES = examples_of("""
    --config-file cub.yml; --machine-rank 1; --dist-url auto
    --eval-only MODEL.WEIGHTS x => --RESUME_MODEL x
    --resume => --RESUME_MODEL {run}/last | goes on from its checkpoint
    --num-gpus 4 => --num-gpus 4
    --num-machines 2 --dist-url tcp://first:29500 | on each machine
""")


def test_each_key_and_flag_means_what_its_example_says() -> None:
    check_examples(LINE, FASTRETRI, EXAMPLES)
    check_examples(LINE, FASTRETRI_FLAGS, FLAG_EXAMPLES)


def test_the_usual_values_are_told_nothing() -> None:
    usual = "MODEL.META_ARCHITECTURE Baseline INPUT.CROP.ENABLED True SOLVER.CLIP_GRADIENTS.NORM_TYPE 2"
    usual += (
        " SOLVER.SCHED CosineAnnealingLR MODEL.HEADS.NORM BN INPUT.AUTOAUG.ENABLED False MODEL.HEADS.CLS_LAYER Linear"
    )
    assert translate(f"{LINE} {usual} MODEL.LOSSES.NAME CrossEntropyLoss").notes == translate(LINE).notes


def test_the_place_of_the_data_comes_from_the_environment() -> None:
    found = translate(f"FASTREID_DATASETS=/data python3 {LINE}")
    assert {one.key: one.value for one in found.overrides}["data.root"] == "/data/CUB_200_2011"
    assert found.environment == {}
    assert found.notes == ["the data, once: shelfmark prepare cub --source /data/CUB_200_2011"]


def test_the_base_takes_the_data_that_is_named() -> None:
    named = resolved("train_net.py --config-file base-image_retri.yml DATASETS.NAMES \"('InShop',)\"")
    inshop = recipe("retrieval/fastretri_inshop")
    assert (named.data.train_json, named.optim) == (inshop.data.train_json, inshop.optim)
    assert named.eval.recall_at == (1, 2, 4, 8, 16, 32)


def test_several_machines_are_started_by_torchrun() -> None:
    found = translate(f"{LINE} --num-gpus 4 --num-machines 2 --machine-rank 1 --dist-url tcp://first:29500")
    assert found.launcher == (
        *("torchrun", "--nnodes=2", "--node-rank=1", "--nproc-per-node=4"),
        *("--master-addr=first", "--master-port=29500", "main.py"),
    )
    assert found.options == []


def test_resume_goes_on_in_its_own_folder_and_rules_over_weights() -> None:
    found = translate(f"{LINE} --resume MODEL.WEIGHTS x OUTPUT_DIR logs/c")
    assert found.options == ["--RESUME_MODEL", "{run}/last"]


def test_the_batch_of_the_test_is_shared_by_the_processes_that_train_and_whole_where_one_evaluates() -> None:
    assert meaning(f"{LINE} --num-gpus 4 TEST.IMS_PER_BATCH 256")["eval.batch_size"] == 64
    assert meaning(f"{LINE} --num-gpus 4 --eval-only TEST.IMS_PER_BATCH 256")["eval.batch_size"] == 256


def test_the_page_lists_every_key_that_is_translated() -> None:
    page = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text(encoding="utf-8")
    named = {
        first + rest
        for first, ends in re.findall(r"`([A-Z_.]+?)(\{[A-Z_., ]+\})?`", page)
        for rest in (ends.strip("{}").split(", ") if ends else [""])
    }
    assert FASTRETRI.keys() <= named
