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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serving"))

from canned_service import PROMISE, CannedService, answered, entry, error
from chromium import chromium, missing

from shelfmark.shop import catalogue, picture, split_labels

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "320": {"viewport": {"width": 320, "height": 640}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True},
}


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
    """A service with an answer of each kind to a photograph of the generated shop."""
    skus, labels = catalogue(0).trained, split_labels(0, "val")
    first = {label: place for place, label in reversed(list(enumerate(labels.tolist())))}
    family = [label for label in first if skus[label].family == skus[int(labels[0])].family]
    near = [*family, *(label for label in first if label not in family)][:6]
    photos = [picture(0, "val", first[label]) for label in near[:6]]
    nearest = [entry(label, skus[label].name, 0.93 - 0.07 * place) for place, label in enumerate(near)]
    family_name = skus[family[0]].family.name
    nothing = {"class": None, "name": None, "score": None}
    with CannedService() as service:
        for label, photo in zip(near, photos):
            service.pictures[f"/product/{label}/picture/0"] = photo
        product = {**nearest[0], "kind": "product", "rule": "product: margin >= 0.21", "neighbours": nearest[:5]}
        several = {"classes": family[:2], "names": [skus[label].name for label in family[:2]]}
        whole = {"classes": family[:4], "names": [skus[label].name for label in family[:4]]}
        replies = [
            answered(product, nearest, PROMISE),
            answered({**nothing, **several, "kind": "shortlist", "rule": "shortlist: sum >= 0.8"}, nearest, PROMISE),
            answered(
                {**nothing, **whole, "kind": "family", "family": family_name, "rule": "family: sum >= 0.9"},
                nearest,
                PROMISE,
            ),
            answered(
                {
                    **nothing,
                    "kind": "unknown",
                    "rule": "unknown",
                    "reason": "The nearest product scores 0.31; 0.52 is asked for.",
                    "neighbours": nearest[:5],
                },
                nearest,
                PROMISE,
            ),
            answered({**product, "rule": None}, nearest),
            error(400, "not_an_image", "This is not a picture that can be read."),
        ]
        for photo, reply in zip(photos, replies):
            service.says(photo, reply)
        yield service.url, [_file(f"IMG_{place:04}.jpg", photo) for place, photo in enumerate(photos, start=2041)]


def _file(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


if __name__ == "__main__":
    sys.exit(main())
