"""`shelfmark thresholds`: when to answer, so that a promise holds. Legend: N pictures, D embedding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark import __version__
from shelfmark.calibration.promise.counted import Counted, Wish, by_kind
from shelfmark.calibration.promise.curve import Curve, curve
from shelfmark.calibration.promise.curve import rows as curve_rows
from shelfmark.calibration.promise.learn import Learned, Needed, learn
from shelfmark.calibration.promise.observed import FORMS, Observed, joined, observed
from shelfmark.calibration.promise.promise import CHECKPOINT, FORMAT, INDEX
from shelfmark.calibration.promise.rules import PRODUCT, Evidence, Rules
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_json
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.ops.class_metrics import GROUPS
from shelfmark.pipelines.recognise import require_shared_classes
from shelfmark.reports.risk_coverage import risk_coverage_plot
from shelfmark.reports.tables import write_table
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.index_files import index_hash, read_index, read_manifest
from shelfmark.runtime.joint_answers import SearchSettings, joint_blocks
from shelfmark.runtime.opened_index import require_same_model
from shelfmark.runtime.promised_pictures import (
    Given,
    KnownProducts,
    Labelled,
    PromisedPictures,
    features_of,
    group_names,
    names_told,
    pictures_of,
    say_pictures,
    training_tables,
)
from shelfmark.runtime.searcher import Searcher, require_images
from shelfmark.runtime.stored_features import STORED
from shelfmark.runtime.thresholds_file import read_thresholds, thresholds_file
from shelfmark.runtime.trained_model import TrainedModel

AUTO = "auto"
"""As max_false_accept: 1%, or nothing where there is no picture of a product never seen."""
_AUTO_FALSE_ACCEPT = 0.01
_VAL, _USUAL = Given(), SearchSettings()
_TRIES, _LOOSER = 6, 1.25
_OF_USE, _ANY = 0.4, 0.95
"""More wrong answers than the first are of no use; more answers about products never seen than the second are as good
as no promise."""


@dataclass(frozen=True)
class Thresholds:
    """file: thresholds.json. folder: of the curves. content: that of the file."""

    file: Path
    folder: Path
    content: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Seen:
    """What the model, and the index, say about the pictures. unseen: None without a product never seen."""

    known: Observed
    unseen: Observed | None
    groups: Mapping[int, str]
    pictures: PromisedPictures


def thresholds(
    model: TrainedModel,
    index_folder: Path | None,
    max_wrong: float,
    confidence: float,
    max_false_accept: float | str | None = AUTO,
    *,
    given: Given = _VAL,
    settings: SearchSettings = _USUAL,
    out: Path | None = None,
) -> Thresholds:
    """Learns when to answer, and writes it into the folder of the index, or into the run folder beside the checkpoint.

    max_false_accept: None promises nothing of products never seen; AUTO is 1%, or nothing where there is no picture
    of such a product. given: labelled pictures in place of val. out: folder for the curves. UserError: the
    pictures do not show the promise; it says how many are needed, and what they show. Nothing is written then.
    """
    require_shares(max_wrong, confidence, max_false_accept)
    if index_folder is not None:
        require_same_model(index_folder, read_manifest(index_folder)["facts"], model)
    file = thresholds_file(model, index_folder)
    folder = from_main(lambda: _report_folder(file, index_folder, out))
    with together():
        index = opened_index(model, index_folder, settings)
        hash_before = None if index_folder is None else index_hash(index_folder)
    seen = seen_pictures(model, index, given, settings, folder)

    def finish() -> Thresholds:
        wish = Wish(max_wrong, confidence, _false_accept(max_false_accept, seen))
        learned = learn(seen.known, seen.unseen, seen.groups, wish, model.recipe.seed)
        if learned.rules is None:
            raise _shortfall(learned, wish, _possible(seen, learned, wish, model.recipe.seed))
        content = _content(model, seen, learned, learned.rules, wish)
        content |= {
            "search": None if index is None else settings.as_json(),
            CHECKPOINT: model.hashes.checkpoint,
            INDEX: hash_before,
        }
        _write_curves(model, seen.known, learned.rules, wish, folder)
        with folder_lock(index_folder or model.run_folder / "thresholds", "writing thresholds"):
            if index_folder is not None and index_hash(index_folder) != hash_before:
                raise UserError(f"{index_folder} was changed while its thresholds were learned. Learn them again.")
            _tell_replaced(file, model)
            write_json(file, content)
        say(f"thresholds written to {file}, the curves of risk and coverage to {folder}")
        return Thresholds(file, folder, content)

    return from_main(finish, "thresholds")


def _tell_replaced(file: Path, model: TrainedModel) -> None:
    """Warns where the file has thresholds of another checkpoint: the run folder has one file for all of its own."""
    try:
        before = read_thresholds(file)
    except UserError:  # damaged, and of no use to anybody
        return
    if before is not None and before.thresholds.get(CHECKPOINT) != model.hashes.checkpoint:
        warn(f"{file} had thresholds of another checkpoint, which is without a promise from now on")


def require_shares(max_wrong: float, confidence: float, max_false_accept: float | str | None) -> None:
    """Raises a UserError unless each is a share between 0 and 1."""
    wanted = {"--max-wrong": max_wrong, "--confidence": confidence, "--max-false-accept": max_false_accept}
    for flag, value in wanted.items():
        if isinstance(value, float | int) and not 0 < value < 1:
            raise UserError(f"{flag} {value:g} is no share between 0 and 1, both excluded; write 1% or 0.01.")


def opened_index(model: TrainedModel, folder: Path | None, settings: SearchSettings) -> Index | None:
    """The index, if there is one to search: it has images, and shares the classes of the model."""
    if folder is None:
        return None
    index = read_index(folder)
    require_same_model(folder, index.facts, model)
    require_images(Searcher(index, model), folder, settings.k)
    require_shared_classes(index, folder)
    return index


def seen_pictures(
    model: TrainedModel, index: Index | None, given: Given, settings: SearchSettings, folder: Path
) -> Seen:
    """Embeds the pictures, and asks model and index about them; every process takes part in the former.

    folder: where their features are stored, in a folder of their own.
    """
    with together():
        training = training_tables(model)
        products = KnownProducts.of(model, index)
        pictures = pictures_of(model, products, given, training)
        groups = group_names(model, products, training)
    if not any(len(one.labels) for one in pictures.known):
        raise _nothing_known(pictures)
    place = folder / STORED
    parts = [_observed(model, index, part, groups, settings, place) for part in (pictures.known, pictures.unseen)]
    known, unseen = parts
    assert known is not None
    num_unseen, num_products = (0, 0) if unseen is None else (len(unseen), len(np.unique(unseen.labels)))
    from_main(lambda: say_pictures(pictures, len(known), num_unseen, num_products))
    return Seen(known, unseen, groups, pictures)


def _nothing_known(pictures: PromisedPictures) -> UserError:
    names = f"; they are of: {names_told(pictures.unseen_names)}" if pictures.unseen_names else ""
    return UserError(
        "no picture is left of a product that the model or the index knows, so nothing can be promised or"
        f" checked{names}. A folder of --images, or a class of --annotations, needs the name of its product in the"
        " training annotations or in the index."
    )


def _observed(
    model: TrainedModel,
    index: Index | None,
    pictures: Sequence[Labelled],
    groups: Mapping[int, str],
    settings: SearchSettings,
    folder: Path,
) -> Observed | None:
    found = []
    for part in features_of(model, pictures, folder):
        evidence = _evidence(model, index, part.features, settings)
        found.append(observed(evidence, part.labels, groups, index is not None, part.photographs))
    return joined(found) if found else None


def _evidence(
    model: TrainedModel, index: Index | None, features: np.ndarray, settings: SearchSettings
) -> Iterator[Evidence]:
    for block, answers in joint_blocks(model, index, features, settings):
        for row in range(block.stop - block.start):
            yield answers.evidence(row)


def _false_accept(asked: float | str | None, seen: Seen) -> float | None:
    """The limit for products never seen; None where nothing is promised of them."""
    if seen.unseen is not None:
        return _AUTO_FALSE_ACCEPT if isinstance(asked, str) else asked
    advice = (
        "There is no picture of a product that the model has never seen. Train with data.open_set_classes=0.05, which"
        " keeps whole groups of classes out, or give such pictures too, by --annotations FILE or --images DIR"
    )
    if not isinstance(asked, str) and asked is not None:
        raise UserError(f"--max-false-accept {asked:g} cannot be promised. {advice}.")
    warn(f"nothing is promised of products that the model has never seen. {advice}")
    return None


def _possible(seen: Seen, learned: Learned, wish: Wish, seed: int) -> Wish | None:
    """A promise that these pictures show: what the safest rules showed, or more, until it is given. None where that is
    nothing of use."""
    wrong, accepted = learned.bound.could_promise(wish)
    for _ in range(_TRIES):
        limit = None if accepted is None or accepted >= _ANY else _rounded_up(accepted)
        wish = Wish(_rounded_up(min(wrong, _OF_USE)), wish.confidence, limit)
        unseen = None if limit is None else seen.unseen
        if learn(seen.known, unseen, seen.groups, wish, seed).rules is not None:
            return wish
        wrong, accepted = _LOOSER * wrong, None if accepted is None else _LOOSER * accepted
    return None


def _shortfall(learned: Learned, wish: Wish, possible: Wish | None) -> UserError:
    """The error of pictures that do not show the promise. possible: one that they show."""
    bound = learned.bound
    needed = Needed.of(wish, by_photograph=bound.photographs is not None)
    sure = f"{100 * wish.confidence:g}%"
    needs = [
        f"at most {_percent(wish.max_wrong)} wrong at {sure} needs {needed.num_answers}"
        f" {_without_error(bound)}, or more with some"
    ]
    if needed.num_products is not None and wish.max_false_accept is not None:
        needs.append(
            f"at most {_percent(wish.max_false_accept)} of products never seen answered needs {needed.num_products}"
            " such products, of which no picture is answered, or more"
        )
    return UserError(
        f"the promise cannot be given: {'; '.join(needs)}. To test it there are {_there_are(learned, wish)}, besides"
        f" those that chose the rules; {_safest_told(bound)}. {_could(possible, wish)} Give more pictures with"
        " --annotations FILE or --images DIR, or ask for less."
    )


def _without_error(bound: Counted) -> str:
    return "answers without an error" if bound.photographs is None else "photographs with answers, none of them wrong"


def _there_are(learned: Learned, wish: Wish) -> str:
    bound, known = learned.bound, learned.halves.bound[0]
    if known.photographs is None:
        there_are = f"{bound.num_pictures:,} pictures of known products"
    else:
        there_are = (
            f"{counted(len(np.unique(known.photographs)), 'photograph')} with {bound.num_pictures:,} boxes of known"
            " products"
        )
    return there_are if wish.max_false_accept is None else f"{there_are} and {bound.num_products} products never seen"


def _safest_told(bound: Counted) -> str:
    answered = f"the safest rules answered {bound.num_answers:,} of the"
    if bound.photographs is None:
        return f"{answered} pictures, {bound.num_wrong} of them wrongly"
    wrong, trials = bound.wrong_of_trials
    return (
        f"{answered} boxes, on {counted(trials, 'photograph')}, {bound.num_wrong} of them wrongly:"
        f" {_percent(_rounded_up(wrong / max(1, trials)))} if each photograph counts once"
    )


def _could(possible: Wish | None, wish: Wish) -> str:
    if possible is None:
        return "They could promise nothing of use."
    options = f"--max-wrong {_percent(possible.max_wrong)}"
    if wish.max_false_accept is not None:
        limit = possible.max_false_accept
        options += f" --max-false-accept {'none' if limit is None else _percent(limit)}"
    return f"They could promise, at {100 * wish.confidence:g}%: {options}."


def _rounded_up(share: float) -> float:
    """To two digits of its percent."""
    value = 100 * share
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 2
    return math.ceil(value * 10**digits - 1e-9) / 10**digits / 100


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _content(model: TrainedModel, seen: Seen, learned: Learned, rules: Rules, wish: Wish) -> dict[str, Any]:
    choose, bound = learned.halves.choose, learned.bound
    return {
        "format": FORMAT,
        "shelfmark": __version__,
        "max_wrong": wish.max_wrong,
        "confidence": wish.confidence,
        "max_false_accept": wish.max_false_accept,
        "coverage": bound.coverage,
        "rules": [rule.as_json() for rule in rules.rules],
        "groups": {str(label): group for label, group in sorted(rules.groups.items())} or None,
        "bound": {**_counts(bound), "by_kind": by_kind(rules, learned.halves.bound[0]), "num_tests": learned.num_tests},
        "learned_on": {
            **seen.pictures.told,
            "num_pictures": len(choose[0]),
            **_num_photographs(choose[0]),
            "num_products_never_seen": 0 if choose[1] is None else len(np.unique(choose[1].labels)),
            "seed": model.recipe.seed,
            "notes": list(seen.pictures.notes),
        },
    }


def _counts(bound: Counted) -> dict[str, Any]:
    found: dict[str, Any] = {
        "num_pictures": bound.num_pictures,
        "num_answers": bound.num_answers,
        "num_wrong": bound.num_wrong,
        "coverage": bound.coverage,
    }
    if bound.photographs is not None:
        wrong, num_photographs = bound.wrong_of_trials
        found |= {"num_photographs": num_photographs, "wrong_by_photograph": wrong / num_photographs}
    if bound.num_products:
        found |= {"num_products_never_seen": bound.num_products, "false_accept": bound.false_accept}
    return found


def _num_photographs(known: Observed) -> dict[str, int]:
    return {} if known.photographs is None else {"num_photographs": len(np.unique(known.photographs))}


def _report_folder(file: Path, index_folder: Path | None, out: Path | None) -> Path:
    """The folder of the curves: --out, `<index>_thresholds`, or `thresholds` in the run folder."""
    require_place(file, "thresholds.json:")
    return require_place(out or report_folder(file, index_folder), "--out", is_folder=True)


def report_folder(file: Path, index_folder: Path | None) -> Path:
    """Where curves and features stand unless another folder is asked for. file: thresholds.json."""
    if index_folder is None:
        return file.parent / "thresholds"
    return index_folder.with_name(f"{index_folder.name}_thresholds")


def _write_curves(model: TrainedModel, known: Observed, rules: Rules, wish: Wish, folder: Path) -> None:
    """risk_coverage.csv and .png: of all pictures of known products, those that chose the rules among them."""
    form = FORMS[0]
    buckets = _buckets(model, known.labels)
    curves: dict[tuple[str, str], Curve] = {}
    for score, values in known.scores[form].items():
        for bucket, rows in buckets.items():
            curves[score, bucket] = curve(values[rows], known.is_right[form][rows])
    of_products = [rule for rule in rules.rules if rule.kind == PRODUCT]
    first = next(iter((*of_products, *rules.rules)[0].conditions))
    folder.mkdir(parents=True, exist_ok=True)
    columns = ("score", "bucket", "num_answers", "coverage", "risk", "at_least")
    write_table(unused_path(folder / "risk_coverage.csv"), list(curve_rows(curves)), columns)
    risk_coverage_plot(
        {score: (one.coverage, one.risk) for (score, bucket), one in curves.items() if bucket == "all"},
        {bucket: (one.coverage, one.risk) for (score, bucket), one in curves.items() if score == first},
        first,
        wish.max_wrong,
        unused_path(folder / "risk_coverage.png"),
    )


def _buckets(model: TrainedModel, labels: np.ndarray) -> dict[str, np.ndarray]:
    """all, many, medium, few -> (N,) bool; by the training images of each picture's product."""
    counts, limits = model.counts, model.recipe.eval
    of_row = np.where(labels < len(counts), counts[np.minimum(labels, len(counts) - 1)], 0)
    many, few = of_row > limits.many, of_row < limits.few
    members = dict(zip(GROUPS, (many, ~many & ~few, few)))
    return {"all": np.ones(len(labels), dtype=bool), **{name: rows for name, rows in members.items() if rows.any()}}
