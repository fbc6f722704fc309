"""What the commands of a promise show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shelfmark.core.terminal import percent
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.thresholds_check import Checked, Share

_VERDICTS = {
    "broken": "the promise does not hold any more",
    "holds": "the promise holds",
    "open": "nothing speaks against the promise; too few pictures to show that it holds",
}


def promised(content: Mapping[str, Any]) -> None:
    """The rules, what they promise, and how many pictures they answer."""
    bound = content["bound"]
    print()
    for rule in content["rules"]:
        print(f"  {rule['name']}")
    print("  else: unknown")
    print()
    pictures = "boxes" if "num_photographs" in bound else "pictures"
    here = f"{bound['num_wrong']} of {bound['num_answers']:,}"
    if "num_photographs" in bound:
        here = (
            f"{percent(bound['wrong_by_photograph'])} over {counted(bound['num_photographs'], 'photograph')}, each"
            f" counted once; {here}"
        )
    print(
        f"With a confidence of {_share(content['confidence'])} at most {_share(content['max_wrong'])} of the answers"
        f" are wrong (here {here})."
    )
    if content["max_false_accept"] is None:
        print("Nothing is promised of products never seen.")
    else:
        print(
            f"Of products never seen at most {_share(content['max_false_accept'])} of the {pictures} are answered (here"
            f" {percent(bound['false_accept'])}, over {counted(bound['num_products_never_seen'], 'product')})."
        )
    kinds = ", ".join(
        f"{percent(found['num_answers'] / bound['num_pictures'])} {kind}" for kind, found in bound["by_kind"].items()
    )
    print(f"Coverage: {percent(bound['coverage'])} of {bound['num_pictures']:,} {pictures} are answered ({kinds}).")


def checked(found: Checked) -> None:
    """Each promise, what was counted, and the verdict."""
    print()
    _share_checked("answers that are wrong", found.wrong, found.confidence)
    if found.false_accept is not None:
        _share_checked("products never seen, answered", found.false_accept, found.confidence)
    print(f"coverage: {percent(found.coverage)}; when the thresholds were learned {percent(found.coverage_before)}")


def _share_checked(what: str, share: Share, confidence: float) -> None:
    measured = share.count / share.trials if share.trials else None
    print(f"{what}: {percent(measured)} of {share.trials:,} {share.unit}; promised: at most {_share(share.limit)}")
    sure = f"each at {_share(confidence)}"
    print(f"  surely {percent(share.low)} or more, {percent(share.high)} or less ({sure}): {_VERDICTS[share.verdict]}")


def _share(value: float) -> str:
    return f"{100 * value:g}%"
