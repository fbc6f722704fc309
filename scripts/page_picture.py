"""Photographs the service's page in Chromium: light, dark and 320 px wide.

python scripts/page_picture.py --out log/page                                  answers made up for it
python scripts/page_picture.py --out log/page --url http://127.0.0.1:8000/ photo.jpg ...    a service that runs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serving"))

from canned_service import PROMISE, CannedService, Reply, answered, entry, error
from chromium import chromium, missing

from shelfmark.shop import catalogue, picture, split_labels

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "320": {"viewport": {"width": 320, "height": 640}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True},
}
NO_PICTURE = error(422, "not_an_image", "The picture cannot be read: it is no image.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the pictures")
    parser.add_argument("--url", help="of a service that runs; without it answers are made up")
    parser.add_argument("photographs", nargs="*", type=Path, help="what that service is asked")
    given = parser.parse_args()
    if lacking := missing():
        print(f"error: {lacking}", file=sys.stderr)
        return 2
    if bool(given.url) != bool(given.photographs):
        print("error: --url and photographs go together", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    shown = running(given.url, given.photographs) if given.url else made_up()
    with shown as (url, files), chromium() as browser:
        for name, look in LOOKS.items():
            for path in photographs(browser, url, files, given.out, name, look):
                print(path)
    return 0


def photographs(
    browser: Any, url: str, files: list[dict[str, Any]], out: Path, name: str, look: dict[str, Any]
) -> Iterator[Path]:
    """Takes the empty page and the page with answers, and gives their paths."""
    from playwright.sync_api import expect

    page = browser.new_context(**look).new_page()
    page.goto(url)
    expect(page.locator("#about")).not_to_be_empty()
    page.screenshot(path=out / f"{name}_empty.png")
    yield out / f"{name}_empty.png"
    page.set_input_files("#files", files)
    expect(page.locator(".card")).to_have_count(len(files))
    expect(page.locator(".waiting")).to_have_count(0, timeout=60_000)
    why = page.get_by_role("button", name="Why? Show it in the photograph")
    if why.count():
        why.first.click()
        expect(page.locator(".told").first).to_have_attribute("aria-busy", "false", timeout=60_000)
    # Pictures far down the page would be loaded when they are scrolled to.
    page.evaluate(
        """() => Promise.all([...document.images].map((image) => {
            image.loading = 'eager';
            return image.decode().catch(() => {});
        }))"""
    )
    # A window as high as the page: `full_page` would take the touch screen away.
    height_px = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": look["viewport"]["width"], "height": height_px})
    page.screenshot(path=out / f"{name}_answers.png", animations="disabled")
    yield out / f"{name}_answers.png"
    page.context.close()


@contextmanager
def running(url: str, paths: list[Path]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    yield url, [_file(path.name, path.read_bytes()) for path in paths]


@contextmanager
def made_up() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A service with an answer of each kind to photographs of the generated shop."""
    skus, labels = catalogue(0).trained, split_labels(0, "val").tolist()
    family = skus[labels[0]].family
    known = [label for label in dict.fromkeys(labels) if skus[label].family == family][:5]
    strangers = [picture(0, "novel", place) for place in (0, 1)]
    photographs = [picture(0, "val", labels.index(label)) for label in known[:3]]
    with CannedService() as service:
        service.info["explains"] = True
        for label in known:
            service.pictures[f"/product/{label}/picture/0"] = picture(0, "val", labels.index(label))
        names = {label: skus[label].name for label in known}
        contents = [*photographs, *strangers, b"no picture"]
        for content, reply in zip(contents, [*_replies(names, family.name), NO_PICTURE]):
            service.says(content, reply)
        files = [_file(f"IMG_{number}.jpg", content) for number, content in enumerate(contents, start=2041)]
        yield service.url, files


def _replies(names: dict[int, str], family: str) -> list[Reply]:
    """A product, a short list, a family, unknown, and a product without a promise. names: by class."""
    known = list(names)

    def near(first: int, score: float) -> list[dict[str, Any]]:
        order = [*known[first:], *known[:first]]
        return [entry(label, names[label], score * 0.92**place) for place, label in enumerate(order)]

    def of(labels: list[int]) -> dict[str, Any]:
        return {"class": None, "name": None, "score": None, "classes": labels, "names": [names[one] for one in labels]}

    sure, far, blind = near(0, 0.93), near(3, 0.31), near(4, 0.44)
    product = {**sure[0], "kind": "product", "rule": "product: margin >= 0.21", "neighbours": sure}
    shortlist = {**of(known[1:3]), "kind": "shortlist", "rule": "shortlist: sum >= 0.8"}
    whole = {**of(known[:4]), "kind": "family", "family": family, "rule": "family: sum >= 0.9"}
    reason = "The nearest product scores 0.31; 0.52 is asked for."
    unknown = {**of([]), "kind": "unknown", "rule": "unknown", "reason": reason, "neighbours": far}
    replies = [
        answered(product, sure, PROMISE),
        answered(shortlist, near(1, 0.6), PROMISE),
        answered(whole, near(2, 0.4), PROMISE),
        answered(unknown, far, PROMISE),
        answered({**blind[0], "kind": "product", "rule": None, "neighbours": blind}, blind),
    ]
    replies[0].body["answers"][0]["explanation"] = _explanation(sure)
    return replies


def _explanation(candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a photograph of 100 x 100 pixels."""
    regions = [("right", [60, 47, 27, 38], 0.58), ("upper right", [65, 15, 11, 9], 0.13)]
    first, second = candidates[:2]
    return {
        "method": "exact",
        "regions": [{"where": where, "box": box, "share": share} for where, box, share in regions],
        "against": [{"where": "lower left", "box": [8, 83, 38, 17], "share": 0.41}],
        "tip": {"answer_when_blurred": {"class": second["class"], "name": second["name"]}},
        "classes": [first["class"], second["class"]],
        "picture_px": [100, 100],
    }


def _file(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


if __name__ == "__main__":
    sys.exit(main())
