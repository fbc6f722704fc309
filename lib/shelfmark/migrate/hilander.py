"""Hi-LANDER, alone and in PSS: train_subg*.py and train.py, test_subg*.py and test.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from shelfmark.core.errors import UserError
from shelfmark.migrate.command import Line, shell_word
from shelfmark.migrate.flags import Old, apply, defaults, require_no_rest, typed_flags
from shelfmark.migrate.translation import Translation, environment_words
from shelfmark.migrate.values import Given, Reading, number, one_of, to_float, to_int, whole

_CLUSTERER, _LANDER = "discovery.clusterer", "discovery.clusterer.lander"
_DENSITY = "selectbydensity"
_MODES = (_DENSITY, "recluster", "donothing", "1head")


def _folder(path: str) -> str:
    """Where the embeddings or the clusterer lie that the original keeps in one file."""
    return str(PurePosixPath(path).with_suffix(""))


def _numbers(key: str) -> Old:
    return Old(lambda text, given: [(key, [to_int(part) for part in text.split(",")])])


def _switch(key: str, on: object, off: object) -> Old:
    return Old(lambda text, given: [(key, off if text == "off" else on)], "off", takes="switch")


def _unless(usual: str, why: str) -> Old:
    return Old(says=lambda text, given: "" if to_float(text) == to_float(usual) else f"without counterpart here: {why}")


def _with_default(old: Old, default: str) -> Old:
    return Old(old.sets, default, old.options, old.inert, old.lacks, old.says, old.takes)


def _labelled(text: str, given: Given) -> list[str]:
    return ["--embeddings", _folder(text)]


def _clustered(text: str, given: Given) -> list[str]:
    # With masks, `prepare pss_features` divides a pickle; this mode clusters the unlabelled images alone.
    folder = f"{_folder(text)}/unlabelled" if given["mode"] == _DENSITY else _folder(text)
    return ["--embeddings", folder]


def _among(*choices: str) -> Callable[[str, Given], Reading]:
    """Sets nothing, and refuses what the original would."""

    def reads(text: str, given: Given) -> Reading:
        one_of(text, choices)
        return []

    return reads


def _about_mode(text: str, given: Given) -> str:
    return {
        _DENSITY: "",
        "recluster": "without counterpart here: `shelfmark discover` clusters anew by discovery.reselect.",
    }.get(text, "in the original it ends with an error.")


def _threshold(text: str, given: Given) -> Reading:
    return [("discovery.selection.density_threshold", to_float(text))] if given["mode"] == _DENSITY else []


def _about_threshold(text: str, given: Given) -> str:
    return "" if given["mode"] == _DENSITY else f"without effect in the original: it is of --mode {_DENSITY}."


def _about_distance(text: str, given: Given) -> str:
    if text == "prob":
        return ""
    return "without counterpart here: the network's probabilities decide; the clusterer `components` goes by cosines."


_OF_SPEED = Old(inert="it is for speed alone.")
_IN_FOLDER = Old(says=lambda text, given: "not needed: the clusterer's folder knows.")

HILANDER: dict[str, Old] = {
    "data_path": Old(options=_labelled),
    "levels": _with_default(_numbers(f"{_LANDER}.levels"), "1"),
    "faiss_gpu": Old(inert="its graphs are made on the CPU; here on a GPU where there is one.", takes="switch"),
    "model_filename": Old(options=lambda text, given: ["--out", _folder(text)], default="lander.pth"),
    "knn_k": _with_default(_numbers(f"{_LANDER}.ks"), "10"),
    "num_workers": _OF_SPEED,
    "hidden": Old(whole(f"{_LANDER}.hidden"), "512"),
    "num_conv": Old(whole(f"{_LANDER}.num_layers"), "1"),
    "dropout": _unless("0", "no part of the network drops out."),
    "gat": _switch(f"{_LANDER}.layer", "gat", "gcn"),
    "gat_k": Old(whole(f"{_LANDER}.heads"), "1"),
    "balance": _switch(f"{_LANDER}.balance", True, False),
    "use_cluster_feat": _switch(f"{_LANDER}.cluster_features", True, False),
    "use_focal_loss": _switch(f"{_LANDER}.focal", True, False),
    "epochs": Old(whole(f"{_LANDER}.epochs"), "100"),
    "batch_size": Old(whole(f"{_LANDER}.batch_size"), "1024"),
    "lr": Old(number(f"{_LANDER}.lr"), "0.1"),
    "momentum": _unless("0.9", "sgd has a momentum of 0.9."),
    "weight_decay": Old(number(f"{_LANDER}.weight_decay"), "1e-5"),
}
HILANDER_TEST: dict[str, Old] = {
    "data_path": Old(options=_clustered),
    "model_filename": Old(options=lambda text, given: ["--clusterer", _folder(text)], default="lander.pth"),
    "faiss_gpu": HILANDER["faiss_gpu"],
    "num_workers": _OF_SPEED,
    "output_filename": Old(options=lambda text, given: ["--out", _folder(text)], default="data/features.pkl"),
    "knn_k": Old(whole(f"{_CLUSTERER}.k"), "10"),
    "levels": Old(whole(f"{_LANDER}.max_levels"), "1"),
    "tau": Old(number(f"{_LANDER}.tau"), "0.5"),
    "threshold": Old(_among("prob", "sim"), says=_about_distance),
    "metrics": Old(says=lambda text, given: "not needed: all are printed."),
    "early_stop": _switch(f"{_LANDER}.early_stop", True, False),
    **{name: _IN_FOLDER for name in ("hidden", "num_conv", "dropout", "gat_k")},
    **{name: Old(says=_IN_FOLDER.says, takes="switch") for name in ("gat", "balance", "use_cluster_feat")},
    "use_focal_loss": Old(says=_IN_FOLDER.says, takes="switch"),
    "use_gt": Old(lacks="clusters by the labels themselves are a check of the code.", takes="switch"),
    "batch_size": _OF_SPEED,
    "mode": Old(_among(*_MODES), "1head", says=_about_mode),
    "midpoint": Old(inert="parsed and never used."),
    "linsize": Old(says=lambda text, given: "not needed: `prepare pss_features` divides the images by their masks."),
    "uinsize": Old(says=lambda text, given: "not needed: `prepare pss_features` divides the images by their masks."),
    "inclasses": Old(inert="parsed and never used."),
    "thresh": Old(_threshold, "1.0", says=_about_threshold),
    "draw": Old(lacks="the report of `shelfmark discover` has the distances to the known classes."),
}


def translate_hilander(line: Line) -> Translation:
    """Training as `shelfmark cluster fit`, clustering as `shelfmark cluster run`."""
    trains = PurePosixPath(line.script).name.startswith("train")
    table = HILANDER if trains else HILANDER_TEST
    typed = typed_flags(line.words, table)
    require_no_rest(typed)
    data = typed.values.get("data_path")
    if data is None:
        raise UserError("--data_path is missing: a pickle of features, as the original needs it too.")
    given = {**defaults(table), **typed.values}
    overrides, options, notes = apply(table, given, typed.shown)
    folder, pickle = shell_word(_folder(data)), shell_word(data)
    notes.append(f"the embeddings, once: shelfmark prepare pss_features --source {pickle} --out {folder}")
    return Translation(
        "pss",
        "pss_inat",
        overrides,
        options,
        (),
        environment_words(line.environment),
        [],
        notes,
        folder="discovery",
        command=("cluster", "fit" if trains else "run"),
    )
