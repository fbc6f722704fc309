"""Command lines of other code bases' READMEs, and the recipe that each of them is.

The READMEs are not at hand. The lines are put together after the flags and values that the specification lists of them:
for PNPloss thirteen flags in its order, `--source` cut short as published; for Smooth_AP those that differ from the
defaults, each set with its evaluation; for FastRetri one command, with the folder's name misspelt as published.
"""

PNP = (
    "python main.py --loss PNP --seed 0 --bs 384 --data_sampler class_random --samples_per_class 4"
    " --arch resnet50_frozen_normalize --source $dir --n_epochs 400 --lr 0.00001 --embed_dim 512 --evaluate_on_gpu"
    " --variant PNP-D_q --alpha 4"
)
SMOOTH_AP_VEHICLES = "python main.py --dataset vehicle_id --fc_lr_mul 1 --bs 384"
SMOOTH_AP_SPECIES = "python main.py --dataset Inaturalist --fc_lr_mul 1 --bs 384"
FASTRETRI = "python3 projects/FastRetri/train_net.py --config-file projects/FastRetri/config/{}.yml --num-gpus 4"

TRAINING = {
    PNP: "pnp_sop",
    SMOOTH_AP_VEHICLES: "smoothap_vehicleid",
    SMOOTH_AP_SPECIES: "smoothap_inat",
    **{FASTRETRI.format(name): f"fastretri_{name}" for name in ("cub", "cars", "sop", "inshop")},
}
EVALUATION = {
    "python evaluate_model.py --dataset vehicle_id --bs 384 --resume log/v/best_model": [
        f"dataset/vehicleid/test_{size}.json" for size in (800, 1600, 2400)
    ],
    "python evaluate_model.py --dataset Inaturalist --bs 384 --resume log/i/best_model": [
        "dataset/inaturalist/test.json"
    ],
    f"{FASTRETRI.format('cub')} --eval-only MODEL.WEIGHTS log/c/best_model": ["dataset/cub/test.json"],
}
