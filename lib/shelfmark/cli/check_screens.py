"""What `shelfmark train --check` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.train_checks import OverfitCheck, RateCheck


def overfit(result: OverfitCheck) -> None:
    """PASS with the figures, or what is wrong and what to look at."""
    found = result.found
    first, last = found.losses[0], found.losses[-1]
    trained = f"{counted(len(found.losses), 'step')} on {counted(result.num_images, 'picture')}"
    lines = [f"{'PASS' if result.passed else 'FAIL'}: {trained}, at a rate of {found.rate:g}"]
    lines += [f"  {name}: {first[name]:.4g} -> {last[name]:.4g}" for name in first]
    lines += [f"  right answers of {head}: {share:.1%}" for head, share in found.right.items()]
    if result.passed and not found.is_near_zero:
        lines.append(
            "  the loss stays above zero, and every answer is right: label smoothing, margins and temperatures give a"
            " loss such a floor"
        )
    lines += [f"what is wrong: {told}." for told in result.findings]
    print(printable("\n".join(lines)))


def rate(result: RateCheck) -> None:
    """The proposal with its reason, and the files."""
    lines = [result.reason]
    if result.option is not None:
        lines.append(f"proposal: {result.option}     (now optim.lr={result.rate:g})")
    lines.append(f"plot and table: {result.plot}, {result.table}")
    print(printable("\n".join(lines)))
