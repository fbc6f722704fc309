"""Whether the promise of `shelfmark thresholds` holds, and what it costs: 200 random divisions of a larger shop.

    make bench-promise [MORE="--max-wrong 0.01"]
    make bench-promise MORE="--seed 1"          another shop, another run: nothing was tuned on them

The shop of 400 SKUs is trained head first on the starter weights, without a score that chooses a model. In each
division half of the pictures of val, and half of the families that were never trained, teach thresholds; the other
halves test them. A division breaks the promise where the exact lower bound at the confidence lies above it. Beside it,
on the same divisions: one threshold on the cosine to the nearest gallery image, and one on the greatest softmax, both
with the same bounds; and both as they are often set, to the greatest coverage whose measured risk is as promised.
Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measuring import add_out, made_by, verdict, write_page

from shelfmark.calibration.promise import binomial
from shelfmark.calibration.promise.counted import Counted, Wish, by_kind, counted
from shelfmark.calibration.promise.curve import curve
from shelfmark.calibration.promise.learn import learn
from shelfmark.calibration.promise.observed import FORMS, Observed
from shelfmark.calibration.promise.rules import KINDS, Rule, Rules
from shelfmark.core.files import read_json
from shelfmark.core.rng import numpy_generator
from shelfmark.pipelines.thresholds import seen_pictures
from shelfmark.retrieval.index_files import read_index
from shelfmark.runtime.joint_answers import SearchSettings
from shelfmark.runtime.promised_pictures import Given
from shelfmark.runtime.trained_model import open_model

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = FORMS[0]


@dataclass(frozen=True, eq=False)
class Way:
    """One way to set thresholds. scores, kinds: that it may use. is_tested: by the bounds, not by what was measured."""

    name: str
    known: Observed
    unseen: Observed
    scores: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    is_tested: bool = True


@dataclass(frozen=True)
class Asked:
    """What is measured: a shop of so many SKUs, a training on it, and divisions of what it says."""

    config: str
    skus: int
    epochs: int
    seed: int
    divisions: int

    @property
    def seeds(self) -> range:
        """Of the divisions: no two measurements share one."""
        return range(self.seed * self.divisions, (self.seed + 1) * self.divisions)


@dataclass(frozen=True)
class Tried:
    """What a way promised in one division, and what became of it. test: None where nothing was promised."""

    test: Counted | None
    kinds: Mapping[str, float]


def main() -> None:
    """Prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "work", type=Path, nargs="?", help="folder of the run (log/bench_promise, or its seed behind it)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the shop, the training and the divisions")
    parser.add_argument("--skus", type=int, default=400, help="SKUs that are trained")
    parser.add_argument(
        "--config",
        choices=("grocery_head", "grocery_pretrained"),
        default="grocery_head",
        help="the head alone, or the whole network behind it",
    )
    parser.add_argument("--epochs", type=int, default=20, help="epochs")
    parser.add_argument("--divisions", type=int, default=200, help="random divisions")
    parser.add_argument("--max-wrong", type=float, default=0.05, help="share of the answers that may be wrong")
    parser.add_argument("--max-false-accept", type=float, default=0.1, help="likewise, products never seen")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the promise")
    add_out(parser)
    options = parser.parse_args()
    seed = options.seed
    work = (options.work or Path(f"log/bench_promise_{seed}" if seed else "log/bench_promise")).resolve()
    wish = Wish(options.max_wrong, options.confidence, options.max_false_accept)
    asked = Asked(options.config, options.skus, options.epochs, seed, options.divisions)
    write_page(page(work, asked, wish), options.out)


def page(work: Path, asked: Asked, wish: Wish) -> Iterator[str]:
    """The lines of the page, each when it is known."""
    yield "# Answers with a promise, on a larger shop"
    yield ""
    yield f"{made_by()}"
    yield ""
    prepare(work, asked)
    ways, families = seen(work)
    ours = ways[0]
    yield (
        f"Seed {asked.seed} of the shop, the training and the divisions. {asked.skus} SKUs trained;"
        f" {len(ours.known):,} pictures of them and {len(ours.unseen):,} of"
        f" {len(np.unique(ours.unseen.labels))} SKUs of {len(set(families.values()))} families never trained. Promise:"
        f" at most {wish.max_wrong:.0%} of the answers wrong, at most {wish.max_false_accept:.0%} of products never"
        f" seen answered, confidence {wish.confidence:.0%}. {asked.divisions} divisions."
    )
    yield ""
    right = ours.known.is_right
    yield "Right without any threshold: " + ", ".join(
        f"{kind}{f' of {size}' if size > 1 else ''} {right[kind, size].mean():.1%}" for kind, size in right
    )
    yield ""
    columns = (
        "way",
        "promised",
        "coverage, %",
        "product, short list, family, %",
        "wrong, %",
        "never seen, %",
        "broken",
    )
    yield f"| {' | '.join(columns)} |"
    yield "|---|---:|---:|---|---:|---:|---:|"
    broken_ours = 0
    for way in ways:
        began = time.perf_counter()
        tried = [divided(way, families, wish, seed) for seed in asked.seeds]
        row, broken = _row(way, tried, wish)
        broken_ours = broken if way is ours else broken_ours
        yield row
        print(f"{way.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    yield ""
    share = broken_ours / asked.divisions
    met = verdict(share <= 1 - wish.confidence + 1e-9)
    yield f"- divisions that break the promise: {share:.1%} (at most {1 - wish.confidence:.0%}: {met})"
    yield "- never seen: the mean share of the pictures of a product never seen that are answered."
    yield "- promised: divisions in which there was a promise. The other figures are means over them."
    yield "- broken: divisions whose exact lower bound, of either share, lies above the promise."


def prepare(work: Path, asked: Asked) -> None:
    """The shop, the run and the index, each if it is not there."""
    work.mkdir(parents=True, exist_ok=True)
    shop = ("--skus", str(asked.skus), "--seed", str(asked.seed))
    _shelfmark(work, "prepare", "shop", *shop, "--out", "shop")
    run = work / "log" / "head"
    if not (run / "summary.json").is_file():
        files = [f"data.{name}_json=shop/{name}.json" for name in ("train", "val", "retrieval")]
        words = ["data.root=shop", *files, "data.input_size_px=128", "data.eval_crop=1.0", "data.num_workers=0"]
        words += ["augment.flip=0", "augment.crop_scale=[0.6,1.0]", "eval.metric=none"]
        words += [f"train.num_epochs={asked.epochs}"]
        words += ["eval.many=40", "eval.few=10", "name=head", "augment.sizes=[]", f"seed={asked.seed}"]
        _shelfmark(work, "train", "--config", str(ROOT / "configs" / f"{asked.config}.yaml"), *words)
    if not (work / "index").is_dir():
        _shelfmark(work, "index", "build", "--RESUME_MODEL", "log/head/best_model", "--out", "index")


def seen(work: Path) -> tuple[list[Way], dict[int, str]]:
    """The ways, on what model and index say about the pictures; and the family of each product never seen."""
    os.chdir(work)
    model, index = open_model(Path("log/head/best_model")), read_index(Path("index"))
    usual, nearest_alone = SearchSettings(), SearchSettings(k=2, weight=1.0, temperature=1e-3)
    folder = work / "thresholds"
    joint = seen_pictures(model, index, Given(), usual, folder)
    near = seen_pictures(model, index, Given(), nearest_alone, folder)
    alone = seen_pictures(model, None, Given(), usual, folder)
    groups = read_json(Path("shop/retrieval.json"))["groups"]
    families = {model.num_classes + number: group for number, group in enumerate(groups)}
    assert joint.unseen is not None
    assert near.unseen is not None
    assert alone.unseen is not None
    only = (PRODUCT[0],)
    cosine = Way("one threshold on the cosine", near.known, near.unseen, ("nearest",), only)
    softmax = Way("one threshold on max-softmax", alone.known, alone.unseen, ("softmax",), only)
    return [
        Way("shelfmark thresholds", joint.known, joint.unseen),
        Way("products alone", joint.known, joint.unseen, None, only),
        cosine,
        softmax,
        replace(cosine, name="cosine, set by the measured risk", is_tested=False),
        replace(softmax, name="max-softmax, set by the measured risk", is_tested=False),
    ], families


def divided(way: Way, families: Mapping[int, str], wish: Wish, seed: int) -> Tried:
    """Thresholds from one half of the pictures and families, tried on the others."""
    of_known = _half(len(way.known), seed, "pictures")
    names = sorted(set(families.values()))
    taught = {name for name, is_in in zip(names, _half(len(names), seed, "families")) if is_in}
    of_unseen = np.array([families[label] in taught for label in way.unseen.labels.tolist()])
    known, unseen = way.known.take(of_known), way.unseen.take(of_unseen)
    if way.is_tested:
        rules = learn(known, unseen, {}, wish, seed, way.scores, way.kinds).rules
    else:
        rules = _measured(way, known, wish)
    if rules is None:
        return Tried(None, {})
    test = way.known.take(~of_known)
    found = by_kind(rules, test)
    kinds = {kind: one["num_answers"] / len(test) for kind, one in found.items()}
    return Tried(counted(rules, test, way.unseen.take(~of_unseen)), kinds)


def _measured(way: Way, known: Observed, wish: Wish) -> Rules | None:
    """One threshold: the greatest coverage at which the measured risk is as promised."""
    assert way.scores is not None
    (score,) = way.scores
    found = curve(known.scores[PRODUCT][score], known.is_right[PRODUCT])
    places = np.flatnonzero(found.risk <= wish.max_wrong)
    if not len(places):
        return None
    return Rules((Rule(PRODUCT[0], {score: float(found.at_least[places[-1]])}),))


def _row(way: Way, tried: list[Tried], wish: Wish) -> tuple[str, int]:
    tests = [one.test for one in tried if one.test is not None]
    if not tests:
        return f"| {way.name} | 0 of {len(tried)} | | | | | 0 |", 0
    broken = sum(_is_broken(test, wish) for test in tests)
    coverage = np.mean([test.coverage for test in tests])
    wrong = np.mean([test.num_wrong / max(1, test.num_answers) for test in tests])
    accepted = np.mean([test.false_accept for test in tests])
    kinds = [np.mean([one.kinds.get(kind, 0.0) for one in tried if one.test is not None]) for kind in KINDS[:-1]]
    of_kinds = ", ".join(f"{100 * share:.1f}" for share in kinds)
    row = f"| {way.name} | {len(tests)} of {len(tried)} | {100 * coverage:.1f} | {of_kinds} | {100 * wrong:.2f} |"
    return f"{row} {100 * accepted:.2f} | {broken} |", broken


def _is_broken(test: Counted, wish: Wish) -> bool:
    wrong, _ = test.wrong_bounds(wish.confidence)
    limit = 1.0 if wish.max_false_accept is None else wish.max_false_accept
    accepted = binomial.mean_lower(test.accepted, test.num_products, wish.confidence)
    return wrong > wish.max_wrong or accepted > limit


def _half(number: int, seed: int, role: str) -> np.ndarray:
    drawn = np.zeros(number, dtype=bool)
    drawn[numpy_generator(seed, f"bench promise {role}").permutation(number)[: number // 2]] = True
    return drawn


def _shelfmark(work: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    with open(work / "said.txt", "a", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "shelfmark", *words]
        done = subprocess.run(command, cwd=work, env=environment, stdout=stream, stderr=stream, check=False)
    if done.returncode:
        sys.exit(f"error: `shelfmark {' '.join(words)}` ended with {done.returncode}; {work / 'said.txt'} says why.")


if __name__ == "__main__":
    main()
