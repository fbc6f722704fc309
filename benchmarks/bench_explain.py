"""Whether explanations name what decides: scores without the named regions, and the details that tell siblings apart.

    make bench-explain [MORE="--part shop --limit 8"]

grocery: configs/grocery_head.yaml. shop: configs/shop.yaml at 112 px with a map of 7 x 7. shop_gem: the same with
pooling by generalised mean, where Grad-CAM stands in for the exact decomposition. shop_vit: a small ViT of 7 x 7
tokens, trained on the shop alone, for attention rollout. Of val, pictures drawn by the seed.
Runs that are trained stay, and so does what was found of each picture, so the benchmark can be stopped and goes on.
With all parts and without --limit the tables go into docs/explain.md; --write does so in any case.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from differing_details import differing_pixels, siblings
from explained_deletion import (
    BLOCKS_A_SIDE,
    FILLINGS,
    NUM_RANDOM,
    SHARE,
    WINDOWS_A_SIDE,
    deleted,
    maps_of,
    share_inside,
)
from measuring import GROCERY, made_by, verdict
from table_runner import write_between_markers

from shelfmark.core.rng import numpy_generator
from shelfmark.data.images import read_rgb
from shelfmark.data.sources import FileSource
from shelfmark.data.table import Table
from shelfmark.data.transforms import eval_transform
from shelfmark.explain.contrast import Contrast
from shelfmark.recipe import assemble
from shelfmark.runtime.trained_model import TrainedModel, open_model

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explain.md"
NAME = "bench-explain"
SHOP = ["--config", str(ROOT / "configs/shop.yaml"), "data.input_size_px=112"]
# Without weights to start from, a ViT needs more epochs and a lower rate than a ResNet.
SHOP_VIT = [
    *["model.backbone=vit_tiny_patch16_224", "model.backbone_options={img_size: 112, depth: 6}"],
    *["model.channels_last=false", "optim.lr=0.001"],
]
SHOPS = {
    "shop": ["model.last_stride=1"],
    "shop_gem": ["model.last_stride=1", "model.pooling.name=gem"],
    "shop_vit": SHOP_VIT,
}
PARTS = ("grocery", *SHOPS)
EPOCHS, EPOCHS_OF_VIT = 10, 30
MAPS = ("ours", "occlusion", "centre", "random blocks")
LIMIT, NUM_RESAMPLES, SMALL_PART = 200, 2000, 0.1
_EPOCHS = f"epochs of the shop's runs (default: {EPOCHS}, of the ViT {EPOCHS_OF_VIT})"
METHODS = {"exact": "exact decomposition", "grad_cam": "Grad-CAM", "rollout": "attention rollout"}


def main(words: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/bench_explain"), help="folder of the runs")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured (default: all)")
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"pictures of a part (default: {LIMIT})")
    parser.add_argument("--epochs", type=int, default=0, help=_EPOCHS)
    parser.add_argument("--seed", type=int, default=0, help="of the shop, the runs and the draw (default: 0)")
    parser.add_argument("--source", type=Path, default=GROCERY, help="folder of the grocery photographs")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/explain.md")
    options = parser.parse_args(words)
    work = options.work.resolve()
    found = {}
    for part in options.part:
        model = trained(work, part, options.seed, options.epochs, options.source.resolve())
        found[part] = measured(model, part, work, options.seed, options.limit)
    text = "\n".join(tables(found, made_by()))
    print(text)
    if options.write or (options.limit >= LIMIT and tuple(options.part) == PARTS):
        write_between_markers(PAGE, NAME, text)


def trained(work: Path, part: str, seed: int, epochs: int, source: Path) -> TrainedModel:
    """The part's model; it is trained where it is not there yet."""
    work.mkdir(parents=True, exist_ok=True)
    name = f"{part}_seed{seed}"
    run = work / "log" / name
    if not (run / "summary.json").is_file():
        words = [f"name={name}", f"seed={seed}", f"output.log_root={run.parent}"]
        if part == "grocery":
            data = work / "grocery"
            if not (data / "train.json").is_file():
                _shelfmark(work, "prepare", "grocery", "--source", str(source), "--out", str(data))
            files = [f"data.{one}_json={data}/{one}.json" for one in ("train", "val", "retrieval")]
            words = ["--config", str(ROOT / "configs/grocery_head.yaml"), f"data.root={data}", *files, *words]
        else:
            data = work / f"shop_seed{seed}"
            files = [f"data.{one}_json={data}/{one}.json" for one in ("train", "val", "test", "retrieval")]
            words = [*SHOP, f"data.root={data}", f"data.test_root={data}/test", *files, *words, *SHOPS[part]]
            words.append(f"train.num_epochs={epochs or (EPOCHS_OF_VIT if part == 'shop_vit' else EPOCHS)}")
        _shelfmark(work, "train", *words)
    return open_model(run / "best_model")


def measured(model: TrainedModel, part: str, work: Path, seed: int, limit: int) -> list[dict[str, Any]]:
    """What was found of each picture; those that were measured before are read."""
    file = work / f"{part}_seed{seed}.jsonl"
    known = {one["row"]: one for one in _lines(file)}
    table = assemble.read_table(model.recipe, "val", num_classes=model.num_classes)
    rows = numpy_generator(seed, f"bench_explain.{part}").permutation(len(table))[:limit].tolist()
    with open(file, "a", encoding="utf-8") as stream:
        for done, row in enumerate(rows):
            if row not in known:
                known[row] = {"row": row, **_of_picture(model, table, row, part, seed)}
                stream.write(json.dumps(known[row]) + "\n")
                stream.flush()
            print(f"\r{part}: {done + 1} of {len(rows)} pictures", end="", file=sys.stderr)
    print(file=sys.stderr)
    return [known[row] for row in rows]


def _lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; the last one may have been cut off as the benchmark was stopped."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def _of_picture(model: TrainedModel, table: Table, row: int, part: str, seed: int) -> dict[str, Any]:
    data = model.recipe.data
    pixels = read_rgb(FileSource(table.paths, table.root), row, data.max_image_pixels)
    image = eval_transform(data.input_size_px, data)(pixels, 0)[None].to(model.precision.device)
    with torch.no_grad():
        logits = model.network.logits(model.network.embed(image))[0]
    answer, following = logits.topk(2).indices.tolist()
    generator = numpy_generator(seed, "bench_explain.blocks", row)
    one = deleted(model.network, image, _contrast(answer, following, image), generator)
    value: dict[str, Any] = {
        "is_right": answer == int(table.labels[row]),
        "score": one.score,
        "left": one.left,
        "seconds": one.found.seconds,
        "passes": one.found.passes,
        "method": one.found.method,
    }
    if part.startswith("shop"):
        value["detail"] = _of_detail(model, image, int(table.labels[row]), _number(table, row), logits, seed)
    return value


def _of_detail(
    model: TrainedModel, image: torch.Tensor, label: int, number: int, logits: torch.Tensor, seed: int
) -> dict[str, Any] | None:
    """Of the contrast with the likeliest sibling: what each map has in the pixels that tell both apart.

    None where no pixel does: something hides them, or stands before them.
    """
    near = max(siblings(seed)[label], key=lambda one: float(logits[one]))
    region = differing_pixels(seed, "val", number, near)
    side = image.shape[-1]
    region = cv2.resize(region.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    if not region.any():
        return None
    maps = maps_of(model.network, image, _contrast(label, near, image)).maps
    inside = {name: share_inside(values, region) for name, values in maps.items()}
    hits = {name: bool(region.ravel()[values.argmax()]) for name, values in maps.items()}
    return {"area": float(region.mean()), "inside": inside, "peak": hits}


def _number(table: Table, row: int) -> int:
    """The number of a shop's picture, by which the generator knows it."""
    return int(Path(table.paths[row]).stem.rpartition("_")[2])


def _contrast(label: int, other: int, image: torch.Tensor) -> Contrast:
    labels, others = (torch.tensor([one], device=image.device) for one in (label, other))
    return Contrast(labels, others)


def tables(found: dict[str, list[dict[str, Any]]], provenance: str) -> Iterator[str]:
    """The lines of the tables."""
    yield (
        f"Loss of the score (the answer's logit less the runner-up's) when {SHARE:.0%} of the picture is replaced, as a"
        " share of the mean score; in brackets the 95% interval of a bootstrap over pictures."
    )
    yield ""
    yield "| part | pictures | method | filled with | by the map | occlusion | centre | random blocks |"
    yield "|---|---:|---|---|---:|---:|---:|---:|"
    for part, rows in found.items():
        for filling in FILLINGS:
            cells = " | ".join(_lost(rows, name, filling) for name in MAPS)
            yield f"| {part} | {len(rows)} | {METHODS[rows[0]['method']]} | {filling} | {cells} |"
    yield ""
    yield "| part | passes, map / occlusion | median seconds, map / occlusion | occlusion is slower by a factor of |"
    yield "|---|---:|---:|---:|"
    for part, rows in found.items():
        yield _cost(part, rows)
    yield ""
    yield from _details({part: rows for part, rows in found.items() if part.startswith("shop")})
    yield from _claims(found)
    yield ""
    yield (
        f"Occlusion: {WINDOWS_A_SIDE} x {WINDOWS_A_SIDE} blurred windows of a quarter of the side. Random blocks: of"
        f" {BLOCKS_A_SIDE} x {BLOCKS_A_SIDE}, mean of {NUM_RANDOM} draws. {provenance}"
    )


def _losses(rows: Sequence[dict[str, Any]], name: str, filling: str) -> np.ndarray:
    return np.array([row["score"] - row["left"][name][filling] for row in rows])


def _lost(rows: Sequence[dict[str, Any]], name: str, filling: str) -> str:
    scores = np.array([row["score"] for row in rows])
    losses = _losses(rows, name, filling)
    low, high = _interval(lambda draw: losses[draw].mean(1) / scores[draw].mean(1), len(rows))
    return f"{100 * losses.mean() / scores.mean():.0f}% ({100 * low:.0f} to {100 * high:.0f})"


def _interval(statistic: Any, number: int) -> tuple[float, float]:
    """The 95% interval of a bootstrap. statistic: (resamples, number) rows to (resamples,)."""
    drawn = statistic(np.random.default_rng(0).integers(0, number, (NUM_RESAMPLES, number)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _cost(part: str, rows: Sequence[dict[str, Any]]) -> str:
    passes, seconds = (
        [float(np.median([row[what][name] for row in rows])) for name in ("ours", "occlusion")]
        for what in ("passes", "seconds")
    )
    cells = f"{passes[0]:.0f} / {passes[1]:.0f} | {seconds[0]:.3f} / {seconds[1]:.3f} | {seconds[1] / seconds[0]:.0f}"
    return f"| {part} | {cells} |"


def _details(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Of the contrast between a product and its likeliest sibling."""
    if not found:
        return
    yield (
        "Share of what is above 0 in the map that lies in the pixels which tell a product from its likeliest sibling,"
        f" and the pictures whose peak lies there. small: these pixels are less than {SMALL_PART:.0%} of the picture."
        " by chance: their share of the picture."
    )
    yield ""
    yield "| part | pixels | pictures | by chance | map | occlusion | centre | peak: map | occlusion | centre |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for part, rows in found.items():
        details = [row["detail"] for row in rows if row.get("detail")]
        for name, chosen in (("all", details), ("small", [one for one in details if one["area"] < SMALL_PART])):
            if chosen:
                shares = [np.mean([one["inside"][which] for one in chosen]) for which in MAPS[:3]]
                peaks = [np.mean([one["peak"][which] for one in chosen]) for which in MAPS[:3]]
                area = np.mean([one["area"] for one in chosen])
                cells = " | ".join(f"{100 * value:.0f}%" for value in (area, *shares, *peaks))
                yield f"| {part} | {name} | {len(chosen)} | {cells} |"
    yield ""


def _claims(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Each claim, by paired differences: met where the whole 95% interval bears it."""
    for part, rows in found.items():
        for filling in FILLINGS:
            scores = np.mean([row["score"] for row in rows])
            ours = _losses(rows, "ours", filling)
            for name in ("random blocks", "centre"):
                gained = (ours - _losses(rows, name, filling)) / scores
                low, _ = _interval(lambda draw, gained=gained: gained[draw].mean(1), len(rows))
                met = verdict(low > 0)
                yield f"- {part}, {filling}: lowers the score more than {name}: {met} ({gained.mean():+.0%})"
            behind = (ours - _losses(rows, "occlusion", filling)) / scores
            low, high = _interval(lambda draw, behind=behind: behind[draw].mean(1), len(rows))
            yield f"- {part}, {filling}: against occlusion {behind.mean():+.0%} ({low:+.0%} to {high:+.0%})"


def _shelfmark(work: Path, *words: str) -> None:
    command = [sys.executable, "-m", "shelfmark", *words]
    done = subprocess.run(command, cwd=work, env={**os.environ, "PYTHONPATH": str(ROOT / "lib")}, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} ended with {done.returncode}.")


if __name__ == "__main__":
    main()
