"""Time, memory and value of the ranking losses beside plain forms of them, and their share of a training step.

    make bench-losses
    python benchmarks/bench_losses.py --part gpu --out benchmarks/results/<date>-<device>-losses.md

Legend: B rows, D embedding. The parts `cpu` and `gpu` need torch and numpy alone. Where a GPU or a package is
missing, the rows that want it say so.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import naive_losses
import torch
from measuring import (
    add_out,
    in_own_process,
    interleaved_seconds,
    is_missing,
    made_by,
    median_ratio,
    peak_above,
    versions,
    write_page,
)
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core.errors import UserError
from shelfmark.losses import PNP, SmoothAP
from shelfmark.ops.soft_rank import Implementation, Ranking, soft_rank_total

DIM = 512
IMAGES_PER_CLASS = 4
SMALL_BATCH, CPU_BATCH, GPU_BATCH, LARGEST_BATCH = 384, 4096, 8192, 65536
NUM_WARM_UP_ROWS = 32
NUM_FACTOR_ROWS = 8192
"""Of the square matrices whose product tells a GPU's speed."""
NUM_CLASSES = 1000
"""Of the classifier in a training step."""
LEARNING_RATE = 1e-4
NUM_THREADS = 2
CPU, GPU = torch.device("cpu"), torch.device("cuda")
MB = 10**6

METHOD = f"""\
Loss and gradient of (B, {DIM}) float32 embeddings, {IMAGES_PER_CLASS} rows a class. After a warm-up ours and the
baseline are timed in turn; times are medians over the rounds, the ratio is the median of the rounds' ratios. Where the
case names no other, the baseline is the naive form over all triples (`benchmarks/naive_losses.py`); its memory grows
as B^3, so that the larger batches stand alone. Extra memory: the peak during the call above what was held before it,
less the gradient that it returns; on a CPU the peak of the resident set, in a process of its own. Value difference:
relative; the gradient's is the norm of the difference over the norm. A training step takes the precision that a run
takes by default, and twice the rounds.
"""

Loss = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["cpu", "gpu", "step", "all"], default="all")
    parser.add_argument("--repeats", type=int, default=6, help="rounds that a median is over")
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(NUM_THREADS)
    write_page(page(options.part, options.repeats), options.out)


def page(part: str, repeats: int) -> Iterator[str]:
    """The lines of the result: what was measured, on what, and the table."""
    yield "# Ranking losses: time, memory and value"
    yield ""
    yield made_by()
    yield f"Rounds: {repeats}. Versions: {versions('torch', 'numpy', 'pytorch-metric-learning')}."
    yield ""
    yield METHOD
    yield "| case | ours | baseline | ratio | extra memory, ours / baseline | value difference | target |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    for row in rows(part, repeats):
        yield row.markdown()


def rows(part: str, repeats: int) -> Iterator[Row]:
    if part in ("cpu", "all"):
        yield from (loss_row(case, CPU, repeats) for case in cpu_cases())
    if part in ("gpu", "all"):
        yield from (loss_row(case, GPU, repeats) for case in gpu_cases())
        yield from floor_rows(GPU, repeats)
    if part in ("step", "all"):
        # 3% is little beside the noise of a step.
        yield from step_rows(CPU, 64, 128, 2 * repeats)
        yield from step_rows(GPU, 224, 384, 2 * repeats)


# --- what is asked, and how it is told ---


@dataclass(frozen=True)
class Target:
    """A bound of one of a row's figures. text: as people say it."""

    figure: str
    bound: float
    text: str
    at_least: bool = False

    def verdict(self, value: float) -> str:
        met = value >= self.bound if self.at_least else value <= self.bound
        return f"{self.text}: {'met' if met else '**missed**'}"


FASTER = Target("speedup", 150, "150 times faster", at_least=True)
SMALL_SHARE = Target("extra_share", 0.02, "2% of the memory")
SAME_GRADIENT = Target("gradient_difference", 1e-4, "gradient within 1e-4")
SMALL_OVERHEAD = Target("overhead", 0.03, "at most 3% more")


def seconds_below(bound: float) -> Target:
    return Target("seconds", bound, f"under {shown_seconds(bound)}")


def bytes_below(bound: float) -> Target:
    return Target("extra_bytes", bound, f"under {shown_bytes(bound)}")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    case: str
    ours: str
    baseline: str = ""
    ratio: str = ""
    memory: str = ""
    difference: str = ""
    target: str = ""

    def markdown(self) -> str:
        cells = (self.case, self.ours, self.baseline, self.ratio, self.memory, self.difference, self.target)
        return f"| {' | '.join(cells)} |"


def verdicts(targets: Sequence[Target], figures: Mapping[str, float]) -> str:
    return "; ".join(target.verdict(figures[target.figure]) for target in targets)


def not_measured(case: str, why: str, targets: Sequence[Target] = ()) -> Row:
    return Row(case, f"not measured: {why}", target="; ".join(target.text for target in targets))


def shown_seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def shown_bytes(size: float) -> str:
    return f"{size / MB:.1f} MB" if size < 100 * MB else f"{size / MB:,.0f} MB"


# --- the losses ---


@dataclass(frozen=True)
class Case:
    """A loss on a batch of B rows. baseline: None where nothing else fits into memory."""

    name: str
    batch_size: int
    ours: Loss
    baseline: Loss | None = None
    targets: Sequence[Target] = ()

    @property
    def title(self) -> str:
        return f"{self.name}, B={self.batch_size:,}"


def cpu_cases() -> Iterator[Case]:
    for name, (ours, naive) in both_forms().items():
        yield Case(name, SMALL_BATCH, ours, naive, [FASTER, SMALL_SHARE])
    title = "PNP-D_q with include_self; baseline pytorch-metric-learning"
    yield Case(title, SMALL_BATCH, our_form_of_peer_pnp, peer_pnp)
    for name in ("Smooth-AP", "PNP-D_q"):
        yield Case(name, CPU_BATCH, both_forms()[name][0], targets=[seconds_below(0.6), bytes_below(100 * MB)])


def gpu_cases() -> Iterator[Case]:
    for name in ("Smooth-AP", "PNP-D_q"):
        ours, naive = both_forms()[name]
        yield Case(f"GPU: {name}", SMALL_BATCH, ours, naive)
        yield Case(f"GPU: {name}", GPU_BATCH, ours, targets=[seconds_below(0.015)])
        yield Case(f"GPU: {name}", LARGEST_BATCH, ours, targets=[seconds_below(1), bytes_below(3000 * MB)])
        triton, chunked = ByImplementation(ours, "triton"), ByImplementation(ours, "chunked")
        title = f"GPU: {name} by implementation=triton; baseline implementation=chunked"
        yield Case(title, GPU_BATCH, triton, chunked, [SAME_GRADIENT])


def both_forms() -> dict[str, tuple[SmoothAP | PNP, Loss]]:
    """Ours and the naive form of each loss."""
    forms: dict[str, tuple[SmoothAP | PNP, Loss]] = {
        "Smooth-AP": (SmoothAP(), partial(over_blocks, naive_losses.smooth_ap))
    }
    for variant in naive_losses.PENALTIES:
        forms[f"PNP-{variant}"] = PNP(variant), partial(over_blocks, partial(naive_losses.pnp, variant=variant))
    return forms


def over_blocks(form: Callable[[Tensor, int], Tensor], embedding: Tensor, labels: Tensor) -> Tensor:
    return form(embedding, IMAGES_PER_CLASS)


def peer_pnp(embedding: Tensor, labels: Tensor) -> Tensor:
    """PNP-D_q of pytorch-metric-learning, which counts a query as its own positive and normalises the rows.

    Its SmoothAPLoss is no baseline: it groups rows wrongly unless there are as many classes as rows of a class.
    """
    from pytorch_metric_learning.losses import PNPLoss

    return PNPLoss(variant="Dq")(embedding, labels)


def our_form_of_peer_pnp(embedding: Tensor, labels: Tensor) -> Tensor:
    return PNP("D_q", include_self=True)(normalize(embedding), labels)


@dataclass(frozen=True)
class ByImplementation:
    """A loss computed by one implementation of the soft-rank engine."""

    loss: SmoothAP | PNP
    implementation: Implementation

    def __call__(self, embedding: Tensor, labels: Tensor) -> Tensor:
        ranking = Ranking(
            embedding,
            labels,
            embedding,
            labels,
            torch.arange(len(labels), device=labels.device),
            score=self.loss.score,
            temperature=self.loss.temperature,
            include_self=self.loss.include_self,
        )
        total, num_queries = soft_rank_total(ranking, self.implementation)
        return total / num_queries


@dataclass(frozen=True)
class Measured:
    """What one loss took in a case, and what it found. seconds: by round. extra: bytes."""

    seconds: list[float]
    extra: int
    value: Tensor
    gradient: Tensor


def loss_row(case: Case, device: torch.device, repeats: int) -> Row:
    if is_missing(device):
        return not_measured(case.title, "no GPU", case.targets)
    try:
        ours, *baselines = measured(case, device, repeats)
    except (ImportError, UserError) as error:
        return not_measured(case.title, str(error), case.targets)
    return compared_row(case, ours, baselines[0]) if baselines else row_alone(case, ours)


def row_alone(case: Case, ours: Measured) -> Row:
    figures = {"seconds": statistics.median(ours.seconds), "extra_bytes": ours.extra}
    return Row(
        case.title,
        shown_seconds(figures["seconds"]),
        memory=shown_bytes(ours.extra),
        target=verdicts(case.targets, figures),
    )


def compared_row(case: Case, ours: Measured, baseline: Measured) -> Row:
    figures = {
        "speedup": median_ratio(baseline.seconds, ours.seconds),
        "extra_share": ours.extra / baseline.extra,
        "gradient_difference": float((ours.gradient - baseline.gradient).norm() / baseline.gradient.norm()),
    }
    return Row(
        case.title,
        shown_seconds(statistics.median(ours.seconds)),
        shown_seconds(statistics.median(baseline.seconds)),
        f"{figures['speedup']:.3g} times",
        f"{shown_bytes(ours.extra)} / {shown_bytes(baseline.extra)} ({figures['extra_share']:.2%})",
        f"{abs(float(ours.value / baseline.value - 1)):.0e} (gradient {figures['gradient_difference']:.0e})",
        verdicts(case.targets, figures),
    )


def measured(case: Case, device: torch.device, repeats: int) -> Iterator[Measured]:
    """Ours, then the baseline where there is one."""
    losses = [case.ours, *([case.baseline] if case.baseline else [])]
    embedding, labels = batch(case.batch_size, device)
    works = [partial(value_and_gradient, loss, embedding, labels) for loss in losses]
    results = [work() for work in works]
    for loss, seconds, result in zip(losses, interleaved_seconds(works, device, repeats), results):
        yield Measured(seconds, extra_bytes(loss, case.batch_size, device), *result)


def batch(batch_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Unit rows (B, D), in blocks of one class each, and their labels (B,).

    A class's rows have a cosine of about 0.1, so that some negatives stand before most positives.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch_size) // IMAGES_PER_CLASS
    centres = torch.randn(int(labels[-1]) + 1, DIM, generator=generator)
    vectors = normalize(centres[labels] + 3 * torch.randn(batch_size, DIM, generator=generator))
    return vectors.to(device).requires_grad_(), labels.to(device)


def value_and_gradient(loss: Loss, embedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    value = loss(embedding, labels)
    (gradient,) = torch.autograd.grad(value, embedding)
    return value.detach(), gradient


def extra_bytes(loss: Loss, batch_size: int, device: torch.device) -> int:
    """The peak of memory that value and gradient take, less the gradient itself."""
    if device.type == "cuda":
        return extra_bytes_here(loss, batch_size, device)
    return in_own_process(extra_bytes_here, loss, batch_size, device)


def extra_bytes_here(loss: Loss, batch_size: int, device: torch.device) -> int:
    torch.set_num_threads(NUM_THREADS)
    embedding, labels = batch(batch_size, device)
    # The first call loads libraries, starts threads and compiles kernels.
    value_and_gradient(loss, *batch(NUM_WARM_UP_ROWS, device))
    peak, (_, gradient) = peak_above(partial(value_and_gradient, loss, embedding, labels), device)
    return peak - gradient.nbytes


# --- the floor on a GPU ---


def floor_rows(device: torch.device, repeats: int) -> Iterator[Row]:
    """How far the largest batch is from bare matrix products: five of 2 B^2 D operations each."""
    for products, precision, num_passes in (("fp32", "ieee", 1), ("three-pass TF32", "tf32", 3)):
        title = f"GPU: PNP-D_q, B={LARGEST_BATCH:,}; baseline five products of 2 B^2 D operations in {products}"
        if is_missing(device):
            yield not_measured(title, "no GPU")
            continue
        work = partial(value_and_gradient, PNP("D_q"), *batch(LARGEST_BATCH, device))
        factor = torch.randn(NUM_FACTOR_ROWS, NUM_FACTOR_ROWS, device=device)
        product = partial(matrix_product, factor, precision)
        work()
        product()
        taken, of_product = map(statistics.median, interleaved_seconds([work, product], device, repeats))
        operations_per_s = 2 * NUM_FACTOR_ROWS**3 / of_product / num_passes
        floor = 5 * 2 * LARGEST_BATCH**2 * DIM / operations_per_s
        yield Row(
            f"{title}, at {operations_per_s / 1e12:.3g} TFLOPS",
            shown_seconds(taken),
            shown_seconds(floor),
            f"{taken / floor:.2g} times the floor",
        )


def matrix_product(factor: Tensor, precision: str) -> Tensor:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = precision
    try:
        return factor @ factor
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


# --- a training step ---


def step_rows(device: torch.device, pixels: int, batch_size: int, repeats: int) -> Iterator[Row]:
    """ResNet-50 with cross-entropy and a ranking loss on a metric head, beside cross-entropy alone."""
    title = f"{'GPU: ' * (device.type == 'cuda')}ResNet-50, {pixels} px, B={batch_size}"
    if is_missing(device):
        yield not_measured(title, "no GPU", [SMALL_OVERHEAD])
        return
    try:
        precision, steps = training_steps(device, pixels, batch_size)
    except ImportError as error:
        yield not_measured(title, str(error), [SMALL_OVERHEAD])
        return
    for step in steps.values():
        step()
    alone, *others = interleaved_seconds(list(steps.values()), device, repeats)
    for name, seconds in zip(list(steps)[1:], others):
        overhead = median_ratio(seconds, alone) - 1
        yield Row(
            f"{title}, {precision}: a step with cross-entropy and {name}; baseline cross-entropy alone",
            shown_seconds(statistics.median(seconds)),
            shown_seconds(statistics.median(alone)),
            f"{overhead:+.1%}",
            target=SMALL_OVERHEAD.verdict(overhead),
        )


def training_steps(device: torch.device, pixels: int, batch_size: int) -> tuple[str, dict[str, Callable[[], object]]]:
    """The precision that a run takes by default, and a step by the losses' names, cross-entropy alone first."""
    from shelfmark.core.contracts import Batch
    from shelfmark.engine.precision import Precision
    from shelfmark.engine.state import TrainState
    from shelfmark.engine.step import TrainStep
    from shelfmark.engine.terms import LossTerm
    from shelfmark.losses import CrossEntropy
    from shelfmark.models.network import build_network
    from shelfmark.models.options import HeadOptions, ModelOptions
    from shelfmark.optim import OptimOptions, build_optimizer, parameter_groups

    labels = torch.arange(batch_size) // IMAGES_PER_CLASS
    images = torch.randn(batch_size, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    one_batch = Batch(images.to(device), labels.to(device), torch.arange(batch_size))
    precision = Precision.resolve("auto", device)
    classes = LossTerm("cross_entropy", "classifier", 1.0, CrossEntropy())
    steps: dict[str, Callable[[], object]] = {}
    for name, loss in {"cross-entropy": None, "Smooth-AP": SmoothAP(), "PNP-D_q": PNP("D_q")}.items():
        ranking = [LossTerm("ranking", "metric", 1.0, loss, consumes="vectors")] if loss else []
        heads = {term.head: HeadOptions(dim=DIM) for term in ranking}
        network = build_network(ModelOptions(backbone="resnet50", heads=heads), NUM_CLASSES).to(device)
        optim = OptimOptions(lr=LEARNING_RATE)
        optimizer = build_optimizer(optim, parameter_groups(network, optim))
        terms = [classes, *ranking]
        step = TrainStep(TrainState(network=network, terms=terms, optimizer=optimizer, precision=precision))
        steps[name] = partial(step, one_batch, LEARNING_RATE)
    return precision.name, steps


if __name__ == "__main__":
    main()
