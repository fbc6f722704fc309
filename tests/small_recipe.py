"""The smallest recipe in which every part of the road is, and a demo of two short epochs."""

# A backbone of a third of a million weights at 32 px: seconds on one core, and every part of the road is in it.
SMALL = [
    "model.backbone=test_resnet",
    "model.heads.rank.dim=16",
    "losses=[{name: cross_entropy}, {name: smooth_ap, head: rank, weight: 0.5}]",
    "data.input_size_px=32",
    "data.num_workers=0",
    "data.check_images=never",
    "train.batch_size=16",
    "train.num_epochs=2",
    "train.steps_per_epoch=10",
    "train.checkpoint_every_steps=3",
    "train.log_every_steps=1",
    "eval.every_epochs=2",
    "data.val_json=val_small.json",
    "data.retrieval_json=retrieval_small.json",
    "optim.lr=0.05",
    "optim.schedule.warmup_epochs=0",
    # The same on every CPU: `auto` decides by a trial.
    "train.precision=fp32",
]

# No evaluation: for tests of what training does.
UNSCORED = ["data.val_json=null", "data.retrieval_json=null", "eval.metric=none"]

# That the shop's pictures are decoded before the first step is in tests/pipelines/test_bad_images.py.
SHORT_DEMO = ["train.num_epochs=2", "train.steps_per_epoch=50", "train.batch_size=32", "data.check_images=never"]
