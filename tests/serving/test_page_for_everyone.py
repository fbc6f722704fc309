"""The page for everyone: by the keyboard, small, enlarged, dark, without motion, and as axe-core judges it."""

from __future__ import annotations

import re

import pytest
from canned_service import PROMISE, answered, error, picture
from chromium import violations
from page_steps import NEAREST, PRODUCT, choose, everything, explained, photo

api = pytest.importorskip("playwright.sync_api", reason="playwright missing; `make browser` says what lacks")
expect = api.expect

APPLE, PEAR = picture("crimson"), picture("yellowgreen")
SMALL = {"width": 320, "height": 640}
# A window of 1280 pixels, enlarged to 200%, has 640 pixels of CSS, each of two by two.
ENLARGED = {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2}

# Where the focus is: the name, and whether it is seen and within the window. A field over its label shows it on that.
FOCUS = """() => {
    const at = document.activeElement;
    const shown = at.matches(".pick input") ? at.nextElementSibling : at;
    const style = getComputedStyle(shown);
    const box = shown.getBoundingClientRect();
    const name = at.getAttribute("aria-label") ?? at.labels?.[0]?.textContent ?? at.textContent.trim();
    const isSeen = style.outlineStyle !== "none" && Number.parseFloat(style.outlineWidth) >= 2;
    return [at === document.body ? "" : name, isSeen, box.top >= 0 && box.bottom <= innerHeight];
}"""


def full(page, service):
    """The page with an answer of every kind, each opened."""
    files = everything(service)
    page.reload()
    expect(page.locator("#about")).not_to_be_empty()
    choose(page, *files)
    expect(page.locator(".card")).to_have_count(len(files))
    expect(page.locator(".waiting")).to_have_count(0)
    for opened in page.locator("summary, .explanation > button").all():
        opened.click()
    expect(page.locator(".told .regions")).to_have_count(6)
    return page


def widths(page):
    """The width of the window, of the page, and what reaches out of the window."""
    return page.evaluate(
        """() => [innerWidth, document.documentElement.scrollWidth, [...document.body.querySelectorAll(":not(.unseen)")]
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 1)
            .map((one) => one.outerHTML.slice(0, 80))]"""
    )


def _file_chooser(page):
    """Opened by the key. On a busy machine Chromium drops a key that comes before it has painted."""
    for _ in range(5):
        try:
            with page.expect_file_chooser(timeout=6000) as chooser:
                page.keyboard.press("Space")
            return chooser.value
        except api.TimeoutError:
            continue
    raise AssertionError("the key opens no file chooser")


def test_the_page_is_used_by_the_keyboard_alone(open_page, service):
    service.info["explains"] = True
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE), explained(PRODUCT, NEAREST, PROMISE))
    service.says(PEAR, answered({**PRODUCT, "name": "Pear"}, NEAREST, PROMISE))
    page = open_page()
    expect(page.locator("#about")).not_to_be_empty()
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS) == ["Choose photographs", True, True]
    _file_chooser(page).set_files([photo(APPLE, "apple.jpg"), photo(PEAR, "pear.jpg")])
    expect(page.locator("h3")).to_have_text(["Oat drink", "Pear"])
    reached = []
    while len(reached) < 20 and (not reached or reached[-1]):
        page.keyboard.press("Tab")
        name, is_visible, is_within = page.evaluate(FOCUS)
        assert not name or (is_visible and is_within), name
        reached.append(name)
    why = ["Why? Show it in the photograph", "Why this answer"]
    whole = [*why, "Remove apple.jpg", *why, "Remove pear.jpg"]
    assert reached[: len(whole) + 2] == ["Search only", "Remove all", *whole]
    page.get_by_role("switch").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".marks")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("details").first).to_have_attribute("open", "")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h3")).to_have_text("Pear")
    assert page.evaluate(FOCUS)[:2] == ["Remove pear.jpg", True]
    page.keyboard.press("Enter")
    assert page.evaluate(FOCUS)[:2] == ["Choose photographs", True]
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("switch")).to_be_checked()


@pytest.mark.parametrize("look", [{"viewport": SMALL}, ENLARGED], ids=["320 px", "200%"])
def test_nothing_reaches_out_of_a_small_or_enlarged_window(open_page, service, look):
    page = full(open_page(**look), service)
    service.token = "new"
    page.get_by_role("switch").click()
    expect(page.locator("#token-form")).to_be_visible()
    page.get_by_role("switch").click()
    inner, scrolled, out = widths(page)
    assert (scrolled, out) == (inner, [])
    assert inner == look["viewport"]["width"]


def test_text_alone_can_be_twice_as_large_and_wider_spaced(open_page, service):
    page = full(open_page(viewport={"width": 1280, "height": 800}), service)
    page.evaluate(
        """() => {
            const sheet = new CSSStyleSheet();
            sheet.replaceSync(`html { font-size: 200% }
                * { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important }
                p { margin-bottom: 2em !important }`);
            document.adoptedStyleSheets = [sheet];
        }"""
    )
    inner, scrolled, out = widths(page)
    assert (scrolled, out) == (inner, [])
    # Nothing is cut off either.
    cut = page.locator("p, h1, h3, button, label, code, bdi, figcaption").evaluate_all(
        """all => all.filter((one) => one.checkVisibility() && !one.matches(".unseen")
            && (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline"))
            .map((one) => one.outerHTML)"""
    )
    assert cut == []


def test_the_page_is_dark_where_the_system_is(open_page):
    def colours(page):
        return [
            [int(one) for one in re.findall(r"\d+", page.locator(tag).evaluate(f"one => getComputedStyle(one).{name}"))]
            for tag, name in [("html", "backgroundColor"), ("#ask", "backgroundColor"), ("h1", "color")]
        ]

    paper, sheet, ink = colours(open_page(color_scheme="dark"))
    assert max(paper + sheet) < 50
    assert min(ink) > 200
    paper, sheet, ink = colours(open_page(color_scheme="light"))
    assert min(paper + sheet) > 200
    assert max(ink) < 60


def test_nothing_moves_for_who_asked_for_that(open_page, service):
    service.says(APPLE, error(503, "busy", "Too much to do.", Retry_After="30"))

    def moving(page):
        choose(page, photo(APPLE))
        expect(page.locator(".waiting")).to_contain_text("Next try")
        return page.evaluate("document.getAnimations().length")

    assert moving(open_page(reduced_motion="reduce")) == 0
    assert moving(open_page(reduced_motion="no-preference")) > 0


def test_axe_finds_no_violation_on_the_empty_page(open_page):
    page = open_page(axe=True)
    expect(page.locator("#standing")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_with_all_that_the_page_can_show(open_page, service, scheme):
    page = full(open_page(axe=True, color_scheme=scheme, reduced_motion="reduce"), service)
    service.says(APPLE, error(503, "busy", "Too much to do.", Retry_After="30"))
    choose(page, photo(APPLE))
    expect(page.locator(".waiting")).to_contain_text("Next try")
    service.token = "new"
    choose(page, photo(PEAR))
    expect(page.locator("#token-form")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": page.evaluate_handle("new DataTransfer()")})
    expect(page.locator("#notice")).to_be_visible()
    assert violations(page) == []


HARMS = {
    "label": "document.querySelector('label[for=files]').remove()",
    "color-contrast": "document.querySelector('h1').style.color = '#bbbbbb'",
    "html-has-lang": "document.documentElement.removeAttribute('lang')",
    "image-alt": "document.querySelector('.photo img').removeAttribute('alt')",
    "button-name": "document.querySelector('.remove').removeAttribute('aria-label')",
    "target-size": """const small = document.querySelector('#clear');
        small.hidden = false;
        small.style.cssText = 'width: 10px; height: 10px; padding: 0; overflow: hidden';
        small.parentElement.style.justifyContent = 'start';
        small.after(small.cloneNode(true));""",
}


def test_axe_bites_where_the_page_is_harmed(open_page, service):
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    page = open_page(axe=True)
    choose(page, photo(APPLE))
    expect(page.locator("h3")).to_have_text("Oat drink")
    page.evaluate("() => {" + ";".join(HARMS.values()) + "}")
    assert {one.partition(":")[0] for one in violations(page)} == set(HARMS)
