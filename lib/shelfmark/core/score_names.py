"""The usual names of scores: one spelling on screens, in the log, in tables and in plots."""

from __future__ import annotations

CLASS_SCORES = ("top1", "top5", "mean_class_accuracy", "mean_class_error", "many", "medium", "few", "ece")
QUERY_SCORES = ("map", "map@r", "r_precision", "mrr", "minp")
"""The scores of a search, besides recall@K."""

_NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class_accuracy": "mean class accuracy",
    "mean_class_error": "mean class error",
    "many": "many-shot",
    "medium": "medium-shot",
    "few": "few-shot",
    "ece": "expected calibration error",
    "map": "mAP",
    "map@r": "mAP@R",
    "r_precision": "R-precision",
    "mrr": "MRR",
    "minp": "mINP",
    "nmi": "NMI",
    "roc_auc": "area under ROC",
    "num_queries_without_positive": "queries without a positive",
}


def score_name(name: str) -> str:
    """The usual name of a score of summary.json: `map@r` is mAP@R."""
    if name in _NAMES:
        return _NAMES[name]
    name = name.replace("recall@", "Recall@").replace("map@", "mAP@").replace("tpr@fpr=", "TPR at FPR ")
    return name.removeprefix("num_").replace("_", " ")


def is_better_low(name: str) -> bool:
    """Whether less of a score is better."""
    return name == "ece" or name.endswith("error")
