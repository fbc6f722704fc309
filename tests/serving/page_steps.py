"""What tests of the page do to it, and the answers that they have the service give."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from canned_service import PROMISE, CannedService, Reply, answered, entry, error, picture
from PIL import Image

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


# Of a photograph of 60 x 30 pixels.
EXPLANATION: dict[str, Any] = {
    "method": "exact",
    "is_exact": True,
    "difference": 2.5,
    "constant": 0.5,
    "regions": [
        {"where": "upper left", "box": [6, 3, 18, 12], "share": 0.625},
        {"where": "right", "box": [48, 9, 12, 15], "share": 0.11},
    ],
    "against": [{"where": "bottom centre", "box": [24, 21, 12, 9], "share": 0.4}],
    "tip": {"class": 4, "name": "Oat drink barista", "answer_when_blurred": {"class": 4, "name": "Oat drink barista"}},
    "classes": [3, 4],
    "picture_px": [30, 60],
}


def explained(answer: dict[str, Any], candidates: Any, promise: Any = None, **changes: Any) -> Reply:
    """What /recognise?explain=1 says. changes: of EXPLANATION."""
    reply = answered(answer, candidates, promise)
    reply.body["answers"][0]["explanation"] = {**EXPLANATION, **changes}
    return reply


def said_of(one: dict[str, Any]) -> Reply:
    """What the service says of one photograph, in its whole form."""
    return Reply({"answers": [one], "model": {"name": "starter"}})


def wide_picture(colour: str) -> bytes:
    """A picture of 60 x 30 pixels, as the bytes of a file."""
    buffer = BytesIO()
    Image.new("RGB", (60, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


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
    """Photographs with an answer of each kind, without a promise, with long names, and without an answer. All answers
    are explained."""
    service.info["explains"] = True
    long = {**PRODUCT, "name": LONG, "neighbours": [entry(1, LONG, 0.5)] * 3}
    replies: list[Reply] = [
        *(explained(kind, NEAREST, PROMISE) for kind in KINDS),
        explained(PRODUCT, NEAREST, method="rollout", regions=[], against=[], tip=None),
        explained(long, [entry(1, LONG, 0.5), entry(2, LONG, 0.4)], PROMISE, classes=[1, 2]),
        error(400, "not_an_image", "This is no picture."),
        error(500, "internal", "Something went wrong."),
    ]
    files = []
    for place, reply in enumerate(replies):
        content = picture(f"#{place}0{place}0f0")
        service.says(content, reply)
        files.append(photo(content, f"{LONG}.jpg" if place == 5 else f"{place}.jpg"))
    return files
