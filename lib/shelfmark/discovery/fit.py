"""A Hi-LANDER trained on the pyramids of labelled images. Legend: N images, n nodes of a graph, D embedding."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_json
from shelfmark.core.rng import derive_seed, numpy_generator
from shelfmark.discovery.lander import Lander
from shelfmark.discovery.lander_files import data_hash, read_state, write_state
from shelfmark.discovery.lander_loss import Targets, parts
from shelfmark.discovery.options import LanderOptions
from shelfmark.discovery.pyramid import PyramidLevel, pyramid
from shelfmark.ops.similarity import compute_dtype

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after an epoch with its number from 1, the number of all, and the mean loss, density and link parts."""

_LAST_LR = 1e-5
_MOMENTUM = 0.9
_OF_CLUSTERING = {"tau", "max_levels", "early_stop"}


def fit(
    features: Tensor,
    labels: Tensor,
    options: LanderOptions,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    state_file: Path | None = None,
    state_every_s: float = 20.0,
) -> Lander:
    """A network that has learned which neighbours are of one class, in eval mode, on the device of the features.

    features: (N, D), of any length. labels: (N,) whole numbers. seed: of the first weights, the order of the seeds and
    the balance.
    The graphs of the pyramids are trained in turn: a step takes one batch of nodes from each graph, and the optimizer
    moves after every batch. When all nodes of a graph were drawn, they are drawn again in a new order. An epoch has as
    many steps as the first graph has batches.
    state_file: written whole, at the end of an epoch if state_every_s seconds have passed, and of the last. A fit of
    the same data and options goes on from it, and on a CPU ends with the weights of one that was never stopped; the
    file of another fit is written over. Raises UserError where the loss is no longer finite.
    """
    features = features.to(compute_dtype(features))
    levels = pyramid(features, labels.to(features.device), options.ks, options.levels)
    fitting = _Fitting(options, seed, levels, _new_model(features.shape[1], options, seed).to(features))
    # Written as the first version wrote it, so that a fit which that version began goes on.
    told = {**options.model_dump(exclude=_OF_CLUSTERING), "momentum": _MOMENTUM, "seed": seed}
    key = sha256_json({"options": told, "data": data_hash(features, labels)})
    epoch = 0 if state_file is None else read_state(state_file, key, fitting.model, fitting.optimizer)
    written_s = time.monotonic()
    while epoch < options.epochs:
        means = fitting.run_epoch(epoch)
        epoch += 1
        is_due = epoch == options.epochs or time.monotonic() - written_s >= state_every_s
        if state_file is not None and is_due:
            write_state(state_file, key, epoch, fitting.model, fitting.optimizer)
            written_s = time.monotonic()
        if progress is not None:
            progress(epoch, options.epochs, means)
    return fitting.model.eval()


def _new_model(dim: int, options: LanderOptions, seed: int) -> Lander:
    return Lander(
        dim,
        options.hidden,
        num_layers=options.num_layers,
        layer=options.layer,
        heads=options.heads,
        cluster_features=options.cluster_features,
        seed=seed,
    )


def _new_optimizer(model: nn.Module, options: LanderOptions) -> torch.optim.Optimizer:
    if options.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=options.lr, momentum=_MOMENTUM, weight_decay=options.weight_decay)
    return torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)


class _Fitting:
    """A model, its optimizer, and the graphs with their targets."""

    def __init__(self, options: LanderOptions, seed: int, levels: list[PyramidLevel], model: Lander) -> None:
        self.options, self.seed, self.levels = options, seed, levels
        self.model = model.train()
        self.optimizer = _new_optimizer(model, options)
        self.targets = [Targets.of(level.graph, level.labels) for level in levels]
        self.num_steps = self._num_batches(levels[0])
        self.num_updates = options.epochs * self.num_steps * len(levels)

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """The epoch's mean losses."""
        sums = torch.zeros(3, dtype=torch.float64, device=self.levels[0].features.device)
        for step in range(epoch * self.num_steps, (epoch + 1) * self.num_steps):
            for number in range(len(self.levels)):
                sums += self._update(step, number)
        means = sums / (self.num_steps * len(self.levels))
        if not means.isfinite().all():
            raise UserError(
                f"The loss of the clusterer's training is not finite in epoch {epoch + 1}."
                f" Lower its lr, which is {self.options.lr:g}."
            )
        return dict(zip(("loss", "density", "link"), means.tolist()))

    def _update(self, step: int, number: int) -> Tensor:
        """The three losses (3,) of graph `number`'s batch, and one move of the optimizer."""
        options, level = self.options, self.levels[number]
        update = step * len(self.levels) + number
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(update)
        nodes = self._seeds(step, number)
        beside = level.cluster_features if options.cluster_features else None
        logits, density = self.model.seed_logits(level.features, level.graph, nodes, beside)
        draw = (derive_seed(self.seed, "lander_balance"), update) if options.balance else None
        losses = parts(logits.log_softmax(dim=2), density, self.targets[number], nodes, focal=options.focal, draw=draw)
        self.optimizer.zero_grad()
        losses[0].backward()
        self.optimizer.step()
        return torch.stack(losses).detach().double()

    def _seeds(self, step: int, number: int) -> Tensor:
        """The batch of a graph at a step: it depends on nothing that a resume would have to restore."""
        level = self.levels[number]
        turn, batch = divmod(step, self._num_batches(level))
        order = numpy_generator(self.seed, "lander_seeds", number, turn).permutation(level.graph.num_nodes)
        chosen = order[batch * self.options.batch_size : (batch + 1) * self.options.batch_size]
        return torch.from_numpy(chosen).to(level.features.device)

    def _num_batches(self, level: PyramidLevel) -> int:
        return math.ceil(level.graph.num_nodes / self.options.batch_size)

    def _lr(self, update: int) -> float:
        wave = (1 + math.cos(math.pi * update / self.num_updates)) / 2
        return _LAST_LR + (self.options.lr - _LAST_LR) * wave
