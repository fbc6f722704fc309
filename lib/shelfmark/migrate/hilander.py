"""Hi-LANDER, alone and in PSS: train_subg*.py and train.py, test_subg*.py and test.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from shelfmark.core.errors import UserError
from shelfmark.migrate.command import Line, shell_word
from shelfmark.migrate.flags import OldFlag, meaning_of
from shelfmark.migrate.notes import INERT, LACKS, NEEDLESS, OF_SPEED, UNUSED, unless, unless_typed
from shelfmark.migrate.readers import any_of, number, whole, wholes
from shelfmark.migrate.translation import Translation
from shelfmark.migrate.values import Reading, Values, to_float

_CLUSTERER, _LANDER = "discovery.clusterer", "discovery.clusterer.lander"
_DENSITY = "selectbydensity"


def _folder(path: str) -> str:
    """Where the embeddings or the clusterer lie that the original keeps in one file."""
    return str(PurePosixPath(path).with_suffix(""))


def _folder_option(option: str) -> Callable[[str, Values], list[str]]:
    return lambda text, values: [option, _folder(text)]


def _switch(key: str, on: object = True, off: object = False) -> OldFlag:
    return OldFlag(lambda text, values: [(key, off if text == "off" else on)], "off", takes="switch")


def _fixed(usual: float, why: str) -> OldFlag:
    return OldFlag(note=lambda text, values: "" if to_float(text) == usual else f"{LACKS}: {why}")


def _clustered(text: str, values: Values) -> list[str]:
    # With masks, `prepare pss_features` divides a pickle; this mode clusters the unlabelled images alone.
    return ["--embeddings", f"{_folder(text)}/unlabelled" if _selects_by_density(values) else _folder(text)]


def _selects_by_density(values: Values) -> bool:
    return values["mode"] == _DENSITY


def _about_mode(text: str, values: Values) -> str:
    return {
        _DENSITY: "",
        "recluster": f"{LACKS}: `shelfmark discover` clusters anew by discovery.reselect.",
    }.get(text, "in the original it ends with an error.")


def _threshold(text: str, values: Values) -> Reading:
    return [("discovery.selection.density_threshold", to_float(text))] if _selects_by_density(values) else []


_IN_FOLDER = f"{NEEDLESS}: the folder of the clusterer says it."
_BY_MASKS = OldFlag(note=f"{NEEDLESS}: `prepare pss_features` divides the images by their masks.")
_FAISS_GPU = OldFlag(
    note=f"{INERT}: its graphs are made on the CPU; here, on a GPU where there is one.", takes="switch"
)

HILANDER: dict[str, OldFlag] = {
    "data_path": OldFlag(options=_folder_option("--embeddings")),
    "levels": OldFlag(wholes(f"{_LANDER}.levels", ","), "1"),
    "faiss_gpu": _FAISS_GPU,
    "model_filename": OldFlag(options=_folder_option("--out"), default="lander.pth"),
    "knn_k": OldFlag(wholes(f"{_LANDER}.ks", ","), "10"),
    "num_workers": OldFlag(note=OF_SPEED),
    "hidden": OldFlag(whole(f"{_LANDER}.hidden"), "512"),
    "num_conv": OldFlag(whole(f"{_LANDER}.num_layers"), "1"),
    "dropout": _fixed(0, "no part of the network has dropout."),
    "gat": _switch(f"{_LANDER}.layer", "gat", "gcn"),
    "gat_k": OldFlag(whole(f"{_LANDER}.heads"), "1"),
    "balance": _switch(f"{_LANDER}.balance"),
    "use_cluster_feat": _switch(f"{_LANDER}.cluster_features"),
    "use_focal_loss": _switch(f"{_LANDER}.focal"),
    "epochs": OldFlag(whole(f"{_LANDER}.epochs"), "100"),
    "batch_size": OldFlag(whole(f"{_LANDER}.batch_size"), "1024"),
    "lr": OldFlag(number(f"{_LANDER}.lr"), "0.1"),
    "momentum": _fixed(0.9, "sgd has a momentum of 0.9."),
    "weight_decay": OldFlag(number(f"{_LANDER}.weight_decay"), "1e-5"),
}
HILANDER_TEST: dict[str, OldFlag] = {
    "data_path": OldFlag(options=_clustered),
    "model_filename": OldFlag(options=_folder_option("--clusterer"), default="lander.pth"),
    "faiss_gpu": _FAISS_GPU,
    "num_workers": OldFlag(note=OF_SPEED),
    "output_filename": OldFlag(options=_folder_option("--out"), default="data/features.pkl"),
    "knn_k": OldFlag(whole(f"{_CLUSTERER}.k"), "10"),
    "levels": OldFlag(whole(f"{_LANDER}.max_levels"), "1"),
    "tau": OldFlag(number(f"{_LANDER}.tau"), "0.5"),
    "threshold": OldFlag(
        any_of("prob", "sim"),
        note=unless_typed(
            "prob", f"{LACKS}: the probabilities of the network decide; the clusterer `components` goes by cosines."
        ),
    ),
    "metrics": OldFlag(note=f"{NEEDLESS}: the command prints all metrics."),
    "early_stop": _switch(f"{_LANDER}.early_stop"),
    **dict.fromkeys(("hidden", "num_conv", "dropout", "gat_k"), OldFlag(note=_IN_FOLDER)),
    **dict.fromkeys(("gat", "balance", "use_cluster_feat", "use_focal_loss"), OldFlag(note=_IN_FOLDER, takes="switch")),
    "use_gt": OldFlag(note=f"{LACKS}: clusters by the labels are a check of the original's code.", takes="switch"),
    "batch_size": OldFlag(note=OF_SPEED),
    "mode": OldFlag(any_of(_DENSITY, "recluster", "donothing", "1head"), "1head", note=_about_mode),
    "midpoint": OldFlag(note=UNUSED),
    "linsize": _BY_MASKS,
    "uinsize": _BY_MASKS,
    "inclasses": OldFlag(note=UNUSED),
    "thresh": OldFlag(
        _threshold, "1.0", note=unless(_selects_by_density, f"{INERT}: it is for --mode {_DENSITY} alone.")
    ),
    "draw": OldFlag(note=f"{LACKS}: the report of `shelfmark discover` has the distances to the known classes."),
}


def translate_hilander(line: Line) -> Translation:
    """Training as `shelfmark cluster fit`, clustering as `shelfmark cluster run`."""
    trains = PurePosixPath(line.script).name.startswith("train")
    found = meaning_of(line.words, HILANDER if trains else HILANDER_TEST)
    data = found.typed.get("data_path")
    if data is None:
        raise UserError("--data_path is missing: a pickle of features, which the original needs too.")
    folder, pickle = shell_word(_folder(data)), shell_word(data)
    return Translation(
        "pss",
        "discovery/pss_inat",
        found.overrides,
        found.options,
        [*found.notes, f"the embeddings, once: shelfmark prepare pss_features --source {pickle} --out {folder}"],
        line.environment,
        command=("cluster", "fit" if trains else "run"),
    )
