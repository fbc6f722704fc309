"""What `shelfmark export` and `export verify` show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from shelfmark.core.terminal import console_settings, percent
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.export import Exported
    from shelfmark.pipelines.export_verify import Verified

_NAMES = {
    "top1_agreement": "same class",
    "probability_difference": "probabilities, largest difference",
    "logits_difference": "logits, largest difference",
    "embedding_difference": "embedding, largest difference",
}
_MET = "the file answers here as its checkpoint did"
_MET_IN_FEWER_BITS = "the file loses no more here than where it was exported, or at most one image in a hundred more"


def exported(found: Exported, out: Path) -> None:
    """The proof, and what is where; or what was tried."""
    if found.folder is None:
        print(f"nothing was published at {out}: no exporter's file gives the answers of the checkpoint")
        for one in found.parity["tried"]:
            lines = [one["error"].partition("\n")[0]] if "error" in one else one["unmet"]
            for line in lines:
                print(f"  {one['exporter']}: {line}")
        return
    parity = found.parity
    _measured(
        parity["measured"], f"{counted(parity['pictures'], 'image')} of {parity['of']}, file against checkpoint, fp32"
    )
    if parity["is_weaker"]:
        print("the check is weaker than it should be: 200 images are wanted")
    _decoders(parity["pixels"])
    commands = parity["commands"]
    if commands["other_class"] is not None:
        print(
            f"the commands compute in {commands['precision']} on {commands['device']}, and give"
            f" {commands['other_class']} of these images another class than fp32"
        )
    if len(parity["table"]) > 1:
        _table(parity["table"])
    reference = parity["reference"]
    reference_told = f"reference/ has {counted(reference['pictures'], 'image')}, {reference['bytes'] / 1e6:.1f} MB"
    print(f"{found.folder}: by the exporter {parity['exporter']}; {reference_told}")
    print(f"try: python {found.folder}/predict.py photo.jpg")


def verified(found: Verified) -> None:
    """What was measured, and whether it is as allowed."""
    _measured(found.measured, f"{counted(found.measured['pictures'], 'image')}, {found.folder} against its checkpoint")
    if found.pixels_equal is not None:
        print(f"pixels after decoding and resizing: {found.pixels_equal} of {found.measured['pictures']} are the same")
    if found.is_weaker:
        print("the check is weaker than it should be: 200 images are wanted")
    for line in found.unmet:
        print(f"not met: {line}")
    if not found.unmet:
        print(_MET if found.allowed["top1_agreement"] == 1 else _MET_IN_FEWER_BITS)


def _measured(measured: Mapping[str, Any], title: str) -> None:
    print(title)
    for name, shown in _NAMES.items():
        value = measured[name]
        print(f"  {shown:<34} {percent(value) if name == 'top1_agreement' else f'{value:.2g}'}")
    if measured["recall@1"] is not None:
        change = 100 * measured["recall@1_change"]
        print(f"  {'Recall@1':<34} {percent(measured['recall@1'])}, change {change:+.2f}")


def _decoders(pixels: Mapping[str, Any]) -> None:
    decoders = pixels["decoders"]
    print(f"  {'resize other than the checkpoint':<34} {counted(pixels['resize_differs'], 'image')}")
    print(
        f"  {'decoded otherwise by OpenCV':<34} {counted(decoders['pictures_that_differ'], 'image')}, by at most"
        f" {decoders['largest_step']} of 255; {decoders['other_class']} get another class"
    )


def _table(rows: list[dict[str, Any]]) -> None:
    table = Table(box=SIMPLE_HEAD)
    table.show_edge = False
    for column in ("precision", "size, MB", "latency, ms", "top-1", "mean class error", "Recall@1", "same class"):
        table.add_column(column, justify="left" if column == "precision" else "right")
    for row in rows:
        scores = (row["top1"], row["mean_class_error"], row["recall@1"], row["top1_agreement"])
        shown = ("-" if value is None else percent(value) for value in scores)
        table.add_row(row["precision"], f"{row['bytes'] / 1e6:.2f}", f"{row['latency_ms']:.1f}", *shown)
    Console(**console_settings()).print(table)
