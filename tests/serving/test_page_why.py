"""Why an answer was given, on the page: the regions lie over the photograph where the service says, and in words."""

from __future__ import annotations

import pytest
from canned_service import PROMISE, answered, error
from page_steps import EXPLANATION, NEAREST, PRODUCT, choose, explained, photo, said_of, wide_picture

api = pytest.importorskip("playwright.sync_api", reason="playwright missing; `make browser` says what lacks")
expect = api.expect

# 60 x 30 pixels.
APPLE = wide_picture("crimson")
NAME = "Why? Show it in the photograph"
# Rectangles of the drawn regions and of the frame: left, top, width, height, in pixels of the window.
BOXES = """frame => [frame, ...frame.querySelectorAll(".marks .line")].map((one) => {
    const { left, top, width, height } = one.getBoundingClientRect();
    return [left, top, width, height];
})"""


def asked(service):
    return [path for _, path, _, _ in service.asked("/recognise")]


def button(place):
    return place.get_by_role("button", name=NAME)


@pytest.fixture
def explaining(service):
    service.info["explains"] = True
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE), explained(PRODUCT, NEAREST, PROMISE))
    return service


def test_regions_are_drawn_where_they_are_in_the_photograph_and_told_in_words(open_page, explaining):
    page = open_page()
    choose(page, photo(APPLE, "apple.jpg"))
    expect(button(page)).to_have_attribute("aria-expanded", "false")
    assert asked(explaining) == ["/recognise?k=5"]
    button(page).click()
    told = page.locator(".told")
    expect(told.locator("h4")).to_have_text("Why Oat drink and not Oat drink barista")
    expect(told.locator("li")).to_have_text(
        [
            "1 upper left: 62.5% of what speaks for Oat drink",
            "2 right: 11% of what speaks for Oat drink",
            "A bottom centre: 40% of what speaks for Oat drink barista",
        ]
    )
    expect(told).to_contain_text("With region 1 blurred, the answer would be Oat drink barista.")
    expect(told).to_contain_text("Exact decomposition")
    expect(page.get_by_role("status")).to_contain_text(
        "apple.jpg: Why Oat drink and not Oat drink barista: upper left, right."
    )
    [frame, *boxes] = page.locator(".photo .frame").evaluate(BOXES)
    left, top, side, _ = frame
    scale = side / 60
    above = (side - 30 * scale) / 2
    regions = [*EXPLANATION["regions"], *EXPLANATION["against"]]
    for found, (x, y, width, height) in zip(boxes, [one["box"] for one in regions], strict=True):
        assert found == pytest.approx(
            [left + x * scale, top + above + y * scale, width * scale, height * scale], abs=1.5
        )
    expect(page.locator(".marks text")).to_have_text(["1", "2", "A"])
    assert asked(explaining) == ["/recognise?k=5", "/recognise?k=0&explain=1"]


def test_it_is_asked_once_and_put_away_and_brought_back(open_page, explaining):
    page = open_page()
    choose(page, photo(APPLE))
    button(page).click()
    expect(page.locator(".marks")).to_be_visible()
    button(page).click()
    expect(button(page)).to_have_attribute("aria-expanded", "false")
    expect(button(page)).to_be_focused()
    expect(page.locator(".told")).to_be_hidden()
    expect(page.locator(".marks")).to_have_count(0)
    button(page).click()
    search = page.get_by_role("switch", name="Search only")
    explaining.says(APPLE, said_of({"id": "0", "neighbours": NEAREST}), to="search")
    search.click()
    expect(page.locator("h3")).to_have_text("Most like Oat drink")
    expect(page.locator(".marks, .explanation")).to_have_count(0)
    search.click()
    expect(page.locator(".marks")).to_be_visible()
    assert len(asked(explaining)) == 2


def test_a_service_that_does_not_explain_offers_nothing(open_page, service):
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    page = open_page()
    choose(page, photo(APPLE))
    expect(page.locator("h3")).to_have_text("Oat drink")
    expect(page.locator(".explanation")).to_have_count(0)


def test_a_photograph_that_the_browser_cannot_show_is_explained_in_words(open_page, service):
    service.info["explains"] = True
    service.says(b"of another form", answered(PRODUCT, NEAREST, PROMISE), explained(PRODUCT, NEAREST, PROMISE))
    page = open_page()
    choose(page, photo(b"of another form", "photo.heic"))
    button(page).click()
    expect(page.locator(".told li")).to_have_count(3)
    expect(page.locator(".marks")).to_have_count(0)


def test_a_busy_service_is_asked_again_a_lost_token_asks_for_one_and_a_refusal_is_told(open_page, explaining):
    plain = answered(PRODUCT, NEAREST, PROMISE)
    busy = error(503, "busy", "Too much to do.", Retry_After="1")
    explaining.says(APPLE, plain, busy, explained(PRODUCT, NEAREST, PROMISE, method="grad_cam", classes=[3]))
    page = open_page()
    choose(page, photo(APPLE))
    button(page).click()
    expect(page.locator(".told")).to_contain_text("The service is busy")
    expect(page.locator("h3")).to_have_text("Oat drink")
    expect(page.locator(".told h4")).to_have_text("Why Oat drink")
    expect(page.locator(".told")).to_contain_text("Grad-CAM")
    newest = page.locator(".card").first
    explaining.says(APPLE, plain, error(404, "no_explanation", "the network has no map"))
    choose(page, photo(APPLE))
    button(newest).click()
    expect(newest.locator(".told")).to_have_text("This model cannot be explained. The network has no map.")
    explaining.says(APPLE, plain, error(500, "internal", "It went wrong."), explained(PRODUCT, NEAREST, PROMISE))
    choose(page, photo(APPLE))
    button(newest).click()
    newest.get_by_role("button", name="Try again").click()
    expect(newest.locator(".told li")).to_have_count(3)
    expect(button(newest)).to_be_focused()
    explaining.says(APPLE, plain)
    choose(page, photo(APPLE))
    expect(button(newest)).to_be_visible()
    explaining.token = "new"
    button(newest).click()
    expect(page.get_by_label("Token of this service")).to_be_focused()
    expect(button(newest)).to_have_attribute("aria-expanded", "false")
