"""The page of the service in Chromium, beside a service that answers what the test told it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from canned_service import CannedService
from chromium import AXE, chromium, missing


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if lacking := missing():
        pytest.skip(lacking)
    from playwright.sync_api import expect

    # A slow machine is no fault of the page.
    expect.set_options(timeout=30_000)
    with chromium() as one:
        yield one


@pytest.fixture
def service() -> Iterator[CannedService]:
    with CannedService() as one:
        yield one


@pytest.fixture
def open_page(browser: Any, service: CannedService) -> Iterator[Callable[..., Any]]:
    """Opens the page; `axe` with the checker in it, the rest are options of a context. What the page's own policy
    forbids, or its script does wrong, fails the test in the end."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def note(message: Any) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(message.text)

    def open_one(axe: bool = False, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(30_000)
        if axe:
            if lacking := missing(axe=True):
                pytest.skip(lacking)
            context.add_init_script(path=AXE)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(service.url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert wrong == []
