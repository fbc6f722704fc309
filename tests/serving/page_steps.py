"""What tests of the page do to it, and the answers that they have the service give."""

from __future__ import annotations

import base64
from typing import Any

from canned_service import PROMISE, CannedService, Reply, answered, entry, error, picture

NOTHING = {"class": None, "name": None, "score": None}
NEAREST = [entry(3, "Oat drink", 0.934), entry(4, "Oat drink barista", 0.051), entry(9, None, 0.011)]
PRODUCT = {**NEAREST[0], "kind": "product", "rule": "product: margin >= 0.21", "neighbours": NEAREST}
SHORTLIST = {
    **NOTHING,
    "kind": "shortlist",
    "classes": [3, 9],
    "names": ["Oat drink", None],
    "rule": "shortlist: sum >= 0.8",
}
FAMILY = {**NOTHING, "kind": "family", "family": "Oat drinks", "classes": [3, 4], "rule": "family: sum >= 0.9"}
UNKNOWN = {**NOTHING, "kind": "unknown", "reason": "The best score is 0.31.", "rule": "unknown", "neighbours": NEAREST}
KINDS = [PRODUCT, SHORTLIST, FAMILY, UNKNOWN]
LONG = "Semi-skimmed-ultra-high-temperature-treated-lactose-free-organic-mountain-pasture-milk"


def photo(content: bytes, name: str = "photo.jpg") -> dict[str, Any]:
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


def choose(page: Any, *files: dict[str, Any]) -> None:
    """As from the dialog of the button."""
    page.set_input_files("#files", list(files))


def transfer(page: Any, *files: dict[str, Any]) -> Any:
    """The DataTransfer of a drop."""
    packed = [[one["name"], one["mimeType"], base64.b64encode(one["buffer"]).decode()] for one in files]
    return page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, type, content] of files) {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type }));
            }
            return transfer;
        }""",
        packed,
    )


def copy_picture(page: Any) -> None:
    """Puts a small picture on the clipboard, as a program for pictures does."""
    page.evaluate(
        """async () => {
            const canvas = document.createElement("canvas");
            canvas.getContext("2d").fillRect(0, 0, 40, 40);
            const blob = await new Promise((resolve) => canvas.toBlob(resolve));
            await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }"""
    )


def everything(service: CannedService) -> list[dict[str, Any]]:
    """Photographs with an answer of each kind, without a promise, with long names, and without an answer."""
    long = {**PRODUCT, "name": LONG, "neighbours": [entry(1, LONG, 0.5)] * 3}
    replies: list[Reply] = [
        *(answered(kind, NEAREST, PROMISE) for kind in KINDS),
        answered(PRODUCT, NEAREST),
        answered(long, [entry(1, LONG, 0.5)] * 3, PROMISE),
        error(400, "not_an_image", "This is no picture."),
        error(500, "internal", "Something went wrong."),
    ]
    files = []
    for place, reply in enumerate(replies):
        content = picture(f"#{place}0{place}0f0")
        service.says(content, reply)
        files.append(photo(content, f"{LONG}.jpg" if place == 5 else f"{place}.jpg"))
    return files
