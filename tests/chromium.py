"""The browser and the checker of accessibility for tests of pages, or why they are not here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
# Level AA of WCAG 2.2 has all of the levels and editions before it.
AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def executable() -> str | None:
    """CHROMIUM of the environment, or the Chromium of this machine."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def missing(axe: bool = False) -> str:
    """What lacks, and how to get it; "" if nothing does."""
    lacking = [] if find_spec("playwright") else ["the package playwright"]
    lacking += [] if executable() else ["Chromium"]
    lacking += ["axe-core"] if axe and not AXE.is_file() else []
    return f"{' and '.join(lacking)} missing; `make browser` installs what lacks" if lacking else ""


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser. Without its sandbox only as root and in CI, where Chromium cannot have one."""
    from playwright.sync_api import sync_playwright

    bare = os.geteuid() == 0 or bool(os.environ.get("CI"))
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), chromium_sandbox=not bare, args=quiet)
        try:
            yield browser
        finally:
            browser.close()


def require_everyone_served(file: Path, title: str, headings: list[str] | None = None) -> None:
    """The page at `file` runs no script of a name and loads nothing, wide and narrow, in light and in dark: it has the
    title as text, and the h3 `headings`, fits the window, and axe-core has no complaint.
    """
    with chromium() as browser:
        for width, look in ((1280, "light"), (1280, "dark"), (320, "light")):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=look)
            # A slow machine is no fault of the page.
            context.set_default_timeout(120_000)
            # The checker needs a script; the page has none of its own.
            context.add_init_script(path=AXE)
            opened, wrong = context.new_page(), []
            opened.on("dialog", lambda one, wrong=wrong: (wrong.append(one.message), one.dismiss()))
            opened.on("request", lambda one, wrong=wrong: wrong.append(one.url) if _is_foreign(one.url, file) else None)
            opened.goto(file.as_uri())
            assert opened.title() == title
            assert opened.evaluate("document.documentElement.scrollWidth") == width
            assert headings is None or opened.locator("h3").all_inner_texts() == headings
            assert violations(opened) == [], (width, look)
            assert wrong == []
            context.close()


def violations(page: Any) -> list[str]:
    """What axe-core finds on the page, which was opened with AXE as a script of the context."""
    found = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}}).then(found => found.violations)", AA
    )
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


def _is_foreign(url: str, file: Path) -> bool:
    return not url.startswith("data:") and url != file.as_uri()
