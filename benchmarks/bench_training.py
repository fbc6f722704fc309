"""How fast a network is trained on a CPU, beside a plain loop of timm's own parts.

    make bench-training [MORE="--only resnet50 --precision fp32 --rounds 5"]

Ours is `shelfmark train`. The peer's loop has timm's create_model, create_dataset, create_loader with its own
transforms, create_optimizer_v2 and nn.CrossEntropyLoss. Both read the same photographs with one worker, at the same
size, batch and precision, ours in channels_last. The peer is measured in channels_last too, and in PyTorch's usual
format, in which timm's training script runs without options. Each figure is the difference of a long and a short run,
which leaves start, imports and the last checkpoint out. Ours and the peer's take turns; the medians and the median
ratio are printed, by processor time of all processes and by wall time. Further rows show what the allocator's setting
gives.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from measuring import GROCERY, add_out, made_by, median_ratio, verdict, versions, write_page

ROOT = Path(__file__).resolve().parents[1]
SHORT, LONG = 2, 10
FORMATS = ("channels_last", "contiguous")


@dataclass(frozen=True)
class Setup:
    """A network, its input and its batch. target: the smallest ratio of the peer's time to ours that is asked for.

    peer_format: memory format of the peer.
    """

    backbone: str
    size_px: int
    batch_size: int
    target: float
    precision: str = "fp32"
    peer_format: str = "channels_last"

    def __str__(self) -> str:
        return f"{self.backbone}, {self.size_px} px, batch {self.batch_size}, {self.precision}"


SETUPS = [
    Setup("resnet50", 128, 32, target=1.0),
    Setup("resnet50", 128, 32, target=1.0, precision="bf16"),
    Setup("tf_efficientnet_lite0", 128, 64, target=1.3),
    Setup("tf_efficientnet_lite0", 128, 64, target=1.3, precision="bf16"),
]


@dataclass(frozen=True)
class Cost:
    """Seconds of one step: of the processor, over all processes, and of the clock."""

    processor_s: float
    wall_s: float


def main() -> None:
    """Prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=Path, default=GROCERY / "train", help="folder with photographs, a folder a class"
    )
    parser.add_argument("--only", nargs="+", help="backbones that are measured; all by default")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], help="precisions; both by default")
    parser.add_argument("--format", nargs="+", choices=FORMATS, help="memory formats of the peer; both by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", nargs=7, metavar="WORD", help=argparse.SUPPRESS)
    add_out(parser)
    options = parser.parse_args()
    if options.peer:
        folder, backbone, size_px, batch_size, precision, peer_format, num_steps = options.peer
        setup = Setup(backbone, int(size_px), int(batch_size), 0, precision, peer_format)
        peer_training(Path(folder), setup, int(num_steps))
        return
    if not options.images.is_dir():
        sys.exit(f"error: there is no folder {options.images}; name one with photographs, a folder a class: --images.")
    setups = [
        setup
        for setup in SETUPS
        if setup.backbone in (options.only or {setup.backbone})
        and setup.precision in (options.precision or {setup.precision})
    ]
    with tempfile.TemporaryDirectory() as work:
        formats = options.format or FORMATS
        write_page(page(setups, formats, options.images.resolve(), Path(work), options.rounds), options.out)


def page(setups: Sequence[Setup], formats: Sequence[str], images: Path, work: Path, rounds: int) -> Iterator[str]:
    """The lines of the page, each when it is known."""
    yield "# Training on a CPU, beside timm"
    yield ""
    yield f"{made_by()} {versions('torch', 'timm')}. Seconds a step, medians of {rounds} rounds."
    yield ""
    head = "ours, processor | timm, processor | ratio | ours, wall | timm, wall | ratio | target"
    yield f"| training | timm's memory format | {head} |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---|"
    _prepare(images, work)
    for setup in setups:
        for peer_format in formats:
            yield _row(replace(setup, peer_format=peer_format), images, work, rounds)
    yield ""
    yield "| ours with freed memory kept, and without (SHELFMARK_KEEP_MEMORY=0) | kept | not kept | ratio |"
    yield "|---|---:|---:|---:|"
    for setup in setups:
        kept, given = [], []
        for _ in range(rounds):
            kept.append(_step_cost(_ours(setup, images, work), {}))
            given.append(_step_cost(_ours(setup, images, work), {"SHELFMARK_KEEP_MEMORY": "0"}))
        with_s, without_s = ([one.processor_s for one in costs] for costs in (kept, given))
        middle = f"{statistics.median(with_s):.2f} | {statistics.median(without_s):.2f}"
        yield f"| {setup}, processor | {middle} | {median_ratio(without_s, with_s):.2f} |"


def _row(setup: Setup, images: Path, work: Path, rounds: int) -> str:
    ours, peers = [], []
    for _ in range(rounds):
        ours.append(_step_cost(_ours(setup, images, work), {}))
        peers.append(_step_cost(_peer(setup, images), {}))
    cells, ratios = [], []
    for name in ("processor_s", "wall_s"):
        mine, theirs = ([getattr(cost, name) for cost in costs] for costs in (ours, peers))
        ratios.append(median_ratio(theirs, mine))
        cells += [f"{statistics.median(mine):.2f}", f"{statistics.median(theirs):.2f}", f"{ratios[-1]:.2f}"]
    met = verdict(min(ratios) >= setup.target)
    return f"| {setup} | {setup.peer_format} | {' | '.join(cells)} | {setup.target:g}: {met} |"


def _prepare(images: Path, work: Path) -> None:
    """Annotations of the photographs, which ours reads."""
    classes = sorted(one.name for one in images.iterdir() if one.is_dir())
    records = [
        {"category_id": number, "fpath": str(file.relative_to(images))}
        for number, name in enumerate(classes)
        for file in sorted((images / name).rglob("*.jpg"))
    ]
    document = {"annotations": records, "num_classes": len(classes), "class_names": classes}
    (work / "train.json").write_text(json.dumps(document))


def _ours(setup: Setup, images: Path, work: Path) -> list[str]:
    # The transforms that timm's loader applies by default: crops of 8 to 100%, flips, jitter of 0.4.
    config = {
        "name": "bench",
        "output": {"log_root": str(work / "log")},
        "data": {
            "root": str(images),
            "train_json": str(work / "train.json"),
            "input_size_px": setup.size_px,
            "num_workers": 1,
        },
        "augment": {"crop_scale": [0.08, 1.0], "flip": 0.5, "color_jitter": [0.4, 0.4, 0.4, 0.0]},
        "model": {"backbone": setup.backbone, "channels_last": True},
        "optim": {"name": "adamw", "lr": 0.001},
        "train": {"num_epochs": 1, "batch_size": setup.batch_size, "precision": setup.precision},
        "eval": {"metric": "none"},
    }
    file = work / f"{setup.backbone}_{setup.precision}.yaml"
    file.write_text(json.dumps(config))
    return [sys.executable, "-m", "shelfmark", "train", "--config", str(file)]


def _peer(setup: Setup, images: Path) -> list[str]:
    words = [str(images), setup.backbone, str(setup.size_px), str(setup.batch_size), setup.precision]
    words.append(setup.peer_format)
    return [sys.executable, __file__, "--peer", *words]


def _step_cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    short, long = (_cost(command, steps, environment) for steps in (SHORT, LONG))
    extra = LONG - SHORT
    return Cost((long.processor_s - short.processor_s) / extra, (long.wall_s - short.wall_s) / extra)


def _cost(command: Sequence[str], num_steps: int, environment: Mapping[str, str]) -> Cost:
    """The cost of the whole run."""
    last = str(num_steps) if "--peer" in command else f"train.steps_per_epoch={num_steps}"
    own = {**os.environ, "PYTHONPATH": str(ROOT / "lib"), **environment}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*command, last], capture_output=True, text=True, env=own)
    if done.returncode:
        sys.exit(f"error: `{' '.join([*command, last])}` failed: {done.stderr.strip()}")
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s)


def peer_training(images: Path, setup: Setup, num_steps: int) -> None:
    """A plain loop of timm's own parts, as its training script has them."""
    import torch
    from timm import create_model
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2

    torch.manual_seed(0)
    dataset = create_dataset("", root=str(images))
    loader = create_loader(
        dataset,
        input_size=(3, setup.size_px, setup.size_px),
        batch_size=setup.batch_size,
        is_training=True,
        use_prefetcher=False,
        num_workers=1,
        persistent_workers=False,
    )
    model = create_model(setup.backbone, num_classes=len(dataset.reader.class_to_idx))
    memory_format = torch.channels_last if setup.peer_format == "channels_last" else torch.contiguous_format
    model = model.to(memory_format=memory_format)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=0.001, weight_decay=1e-4)
    loss_of = torch.nn.CrossEntropyLoss()
    model.train()
    for step, (images_of_batch, labels) in enumerate(loader):
        if step == num_steps:
            break
        batch = images_of_batch.contiguous(memory_format=memory_format)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=setup.precision == "bf16"):
            loss = loss_of(model(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss)


if __name__ == "__main__":
    main()
