"""The page on the service itself, which wants a token: what the two of them make of real photographs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from chromium import missing
from page_steps import choose, photo

if lacking := missing():
    pytest.skip(lacking, allow_module_level=True)
pytest.importorskip("onnxruntime")
pytest.importorskip("fastapi")

from exported import CLASS_NAMES, write_exported
from playwright.sync_api import expect
from served import photographs, served, write_gallery

from shelfmark.serving.access import Access
from shelfmark.serving.guard import PAGE_POLICY
from shelfmark.serving.versions import Source

TOKEN = "a token of more than sixteen letters"
LABELS = [0, 1, 2, 2, 7, -1]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    place = tmp_path_factory.mktemp("served")
    files = photographs(place / "photos", len(LABELS))
    write_exported(place / "exported")
    write_gallery(place / "index", place / "exported", files, LABELS)
    source = Source(model=place / "exported", index=place / "index", decoders=1)
    with served(source, Access(token=TOKEN)) as running:
        host, port = running.address
        yield SimpleNamespace(url=f"http://{host}:{port}/", running=running, photos=[one.read_bytes() for one in files])


def entered(page: Any) -> Any:
    page.get_by_label("Token of this service").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#about")).to_have_text("tiny0 · 5 products · 6 pictures")
    return page


def names(reply: Any) -> list[str]:
    return [one["name"] or "Without a name" for one in reply]


def test_a_photograph_gets_the_answer_of_the_service_and_its_neighbours_pictures(open_page, service):
    page = entered(open_page())
    content = service.photos[2]
    choose(page, photo(content))
    asked = service.running.post("/recognise?k=5", content, Authorization=f"Bearer {TOKEN}").json["answers"][0]
    expect(page.locator("h3")).to_have_text(asked["answer"]["name"])
    expect(page.locator(".warning")).to_be_visible()
    tiles = page.locator(".pictures li")
    expect(tiles.locator("span:not(.number)")).to_have_text(names(asked["neighbours"]))
    for image in tiles.locator("img").all():
        expect(image).to_have_js_property("naturalWidth", 50)
    assert CLASS_NAMES[2] in tiles.first.inner_text()


def test_a_search_shows_what_the_service_finds(open_page, service):
    page = entered(open_page())
    page.get_by_role("switch", name="Search only").click()
    choose(page, photo(service.photos[0]))
    found = service.running.post("/search?k=10", service.photos[0], Authorization=f"Bearer {TOKEN}").json["answers"][0]
    expect(page.locator("h3")).to_have_text(f"Most like {CLASS_NAMES[0]}")
    expect(page.locator(".pictures li span:not(.number)")).to_have_text(names(found["neighbours"]))


def test_a_wrong_and_a_broken_file_are_told_in_words(open_page, service):
    page = entered(open_page())
    choose(page, photo(b"no picture"), photo(service.photos[0][:200]), photo(service.photos[0]))
    expect(page.locator(".card.product")).to_have_count(1)
    expect(page.locator("h3")).to_have_count(3)
    assert page.locator("h3").all_inner_texts()[:2] == ["Not a photograph", "The file cannot be read"]


def test_the_page_is_served_whole_and_with_its_policy(open_page, service):
    answers = []
    page = open_page()
    page.on("response", lambda response: answers.append((response.url.removeprefix(service.url), response)))
    page.reload()
    expect(page.get_by_label("Token of this service")).to_be_focused()
    statuses = {path: response.status for path, response in answers}
    assert statuses == {"": 200, "page.css": 200, "page.js": 200, "why.js": 200, "info": 401} | (
        {"icon.svg": 200} if "icon.svg" in statuses else {}
    )
    assert dict(answers)[""].header_value("content-security-policy") == PAGE_POLICY
    assert service.running.get("/icon.svg").status == 200
