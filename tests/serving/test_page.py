"""The page in a real browser: photographs go in by every way, and every answer is shown."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from canned_service import PROMISE, Reply, answered, entry, error, picture
from page_steps import (
    FAMILY,
    NEAREST,
    NOTHING,
    PRODUCT,
    SHORTLIST,
    UNKNOWN,
    choose,
    copy_picture,
    explained,
    photo,
    transfer,
)

api = pytest.importorskip("playwright.sync_api", reason="playwright missing; `make browser` says what lacks")
expect = api.expect

RAN = '(one) => { try { one(); return ""; } catch (error) { return error.name; } }'
APPLE = picture("crimson")
PEAR = picture("yellowgreen")


def k_of(request):
    return parse_qs(urlsplit(request[1]).query)["k"]


def all_loaded(place, number):
    images = place.locator(".pictures img")
    expect(images).to_have_count(number)
    for image in images.all():
        expect(image).to_have_js_property("naturalWidth", 64)


def test_a_chosen_photograph_is_answered_with_its_score_rule_promise_and_neighbours(open_page, service):
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    page = open_page()
    choose(page, photo(APPLE, "apple.jpg"))
    card = page.locator(".card")
    expect(card.get_by_role("heading", level=3)).to_have_text("Oat drink")
    expect(card.locator(".badge")).to_have_text("Product")
    expect(card.locator(".answer > .score")).to_have_text("score 0.93")
    expect(page.locator(".promise")).to_have_text(
        "Promise: at most 1% of answers are wrong (confidence 95%)."
        " 83.4% of photographs of known products get an answer."
    )
    expect(card.locator(".promise, .warning")).to_have_count(0)
    card.get_by_text("Why this answer").click()
    expect(card.locator("code")).to_have_text("product: margin >= 0.21")
    expect(card.get_by_text("Of products never seen, at most 2% get an answer.")).to_be_visible()
    expect(card.locator(".scores li")).to_have_text(["Oat drink0.93", "Oat drink barista0.05", "Product 90.01"])
    expect(card.locator(".pictures li")).to_have_text(["Oat drink0.93", "Oat drink barista0.05", "Product 90.01"])
    all_loaded(card, 3)
    expect(page.get_by_role("status")).to_contain_text("apple.jpg: Oat drink, score 0.93.")
    [asked] = service.asked("/recognise")
    assert asked[3] == APPLE
    assert k_of(asked) == ["5"]
    assert "apple" not in str(asked[:3])


def test_dropped_photographs_are_answered_in_their_order_above_older_ones(open_page, service):
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    service.says(PEAR, answered({**PRODUCT, "name": "Pear"}, NEAREST, PROMISE))
    page = open_page()
    choose(page, photo(APPLE, "old.jpg"))
    dropped = transfer(page, photo(PEAR, "pear.jpg"), photo(APPLE, "apple.jpg"))
    page.dispatch_event("#question", "dragenter", {"dataTransfer": dropped})
    expect(page.locator("body")).to_have_class(re.compile("dropping"))
    page.dispatch_event("#question", "drop", {"dataTransfer": dropped})
    expect(page.locator("body")).not_to_have_class(re.compile("dropping"))
    expect(page.locator("h3")).to_have_text(["Pear", "Oat drink", "Oat drink"])
    expect(page.locator("figcaption")).to_have_text(["pear.jpg", "apple.jpg", "old.jpg"])


def test_a_dropped_address_is_not_followed(open_page, service):
    page = open_page()
    link = page.evaluate_handle(
        """() => {
            const link = new DataTransfer();
            link.setData("text/uri-list", "http://127.0.0.1:1/a.jpg");
            return link;
        }"""
    )
    page.dispatch_event("body", "drop", {"dataTransfer": link})
    expect(page.locator("#notice")).to_have_text("That was no file. Copy the picture itself and paste it here.")
    assert service.asked("/recognise") == []
    assert page.url == service.url


def test_a_copied_picture_is_pasted(open_page, service):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    copy_picture(page)
    page.keyboard.press("Control+V")
    expect(page.locator("figcaption")).to_have_text("image.png")
    expect(page.get_by_role("heading", level=3)).to_be_visible()
    [asked] = service.asked("/recognise")
    assert asked[3].startswith(b"\x89PNG")
    page.evaluate("navigator.clipboard.writeText('an apple')")
    page.keyboard.press("Control+V")
    expect(page.locator("#notice")).to_have_text("There is no picture on the clipboard.")
    assert len(service.asked("/recognise")) == 1


@pytest.mark.parametrize(
    ("answer", "badge", "heading", "words"),
    [
        (
            SHORTLIST,
            "Short list",
            "One of 2 products",
            ["Most likely one of these. The photograph does not tell which."],
        ),
        (FAMILY, "Family", "Oat drinks", ["The family is clear, the product in it is not."]),
        (UNKNOWN, "Unknown", "Not one of the known products", ["The best score is 0.31."]),
    ],
)
def test_an_answer_that_names_no_single_product_says_why(open_page, service, answer, badge, heading, words):
    service.says(APPLE, answered(answer, NEAREST, PROMISE))
    page = open_page()
    choose(page, photo(APPLE))
    expect(page.locator(".badge")).to_have_text(badge)
    expect(page.locator("h3")).to_have_text(heading)
    expect(page.locator(".reason")).to_have_text(words)
    expect(page.locator(".promise")).to_be_visible()
    expect(page.locator(".answer > .score")).to_have_count(0)


def test_the_products_of_a_short_list_are_shown_with_their_pictures_and_scores(open_page, service):
    service.says(APPLE, answered(SHORTLIST, NEAREST, PROMISE))
    page = open_page()
    choose(page, photo(APPLE))
    expect(page.locator(".pictures li")).to_have_text(["Oat drink0.93", "Product 90.01"])
    expect(page.locator(".pictures img")).to_have_count(2)
    expect(page.get_by_role("status")).to_contain_text("One of 2 products: Oat drink, Product 9.")


def test_an_answer_without_a_promise_has_a_warning(open_page, service):
    service.info["promise"] = None
    service.says(APPLE, answered({**PRODUCT, "rule": None}, NEAREST))
    page = open_page()
    warning = "No promise: every photograph gets a product, even one of a product that the service does not know."
    expect(page.locator("#standing")).to_have_text(warning)
    choose(page, photo(APPLE))
    expect(page.locator(".warning")).to_have_text(warning)
    expect(page.locator(".promise")).to_have_count(0)
    expect(page.locator(".reason")).to_have_text("It comes nearest.")


def test_the_promise_is_told_once_and_a_card_with_another_one_says_its_own(open_page, service):
    service.first = [error(503, "not_ready", "The service is loading. Ask again.", Retry_After="1")]
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    service.says(PEAR, answered(UNKNOWN, NEAREST, {**PROMISE, "max_wrong": 0.05}))
    page = open_page()
    expect(page.locator("#about")).to_have_text("The service is not ready yet.")
    choose(page, photo(APPLE), photo(APPLE), photo(PEAR), photo(b"no picture"))
    expect(page.locator("#about")).to_contain_text("starter")
    expect(page.locator("h3")).to_have_count(4)
    expect(page.locator("#promised")).to_contain_text("Promise: at most 1% of answers are wrong")
    expect(page.locator(".card .promise")).to_have_count(1)
    expect(page.locator(".card.unknown .promise")).to_contain_text("Promise: at most 5% of answers are wrong")


def test_names_and_file_names_are_text(open_page, service):
    script, image = "<script>alert(1)</script>", "<img src=x onerror=alert(2)>"
    hostile = {
        **NOTHING,
        "kind": "family",
        "family": script,
        "classes": [1],
        "names": [image],
        "reason": image,
        "rule": script,
        "neighbours": [{**entry(1, image, 0.5), "picture": "//127.0.0.1:1/a.jpg"}, entry(2, script, 0.4)],
    }
    service.info["model"]["name"] = script
    service.info["explains"] = True
    wrong = {"where": image, "box": [1, 1, 9, 9], "share": 0.5}
    candidates = [entry(1, script, 0.5), entry(2, image, 0.4)]
    then = {"answer_when_blurred": {"class": 7, "name": script}}
    service.says(APPLE, explained(hostile, candidates, PROMISE, classes=[1, 2], regions=[wrong], tip=then))
    page = open_page()
    elsewhere = []
    page.on(
        "request", lambda request: elsewhere.append(request.url) if not request.url.startswith(service.url) else None
    )
    choose(page, photo(APPLE, f"{script}.jpg"), photo(b"no picture", image))
    expect(page.locator("h3")).to_have_text([script, "Not a photograph"])
    expect(page.locator("figcaption")).to_have_text([f"{script}.jpg", image])
    expect(page.locator("#about")).to_contain_text(script)
    page.get_by_text("Why this answer").click()
    expect(page.locator("code")).to_have_text(script)
    page.get_by_role("button", name="Why?").click()
    expect(page.locator(".told h4")).to_have_text(f"Why {script} and not {image}")
    expect(page.locator(".told li").first).to_have_text(f"1 {image}: 50% of what speaks for {script}")
    expect(page.locator(".told")).to_contain_text(f"With region 1 blurred, the answer would be {script}.")
    expect(page.locator(".pictures").nth(1).locator("li")).to_have_text([f"No picture{image}0.50", f"{script}0.40"])
    assert page.locator("script").count() == 2
    assert page.locator("[onerror]").count() == 0
    # The page's own previews are blobs.
    assert [url for url in elsewhere if not url.startswith("blob:")] == []
    asked = {urlsplit(path).path for _, path, *_ in service.requests}
    own = {"/", "/page.css", "/page.js", "/why.js", "/icon.svg", "/info", "/recognise"}
    assert asked - own == {"/product/1/picture/0", "/product/2/picture/0"}


def test_a_wrong_file_is_told_in_words(open_page, service):
    unreadable = {"answers": [{"id": "0", "error": "the file is cut short"}]}
    service.says(b"cut", Reply(unreadable))
    page = open_page()
    choose(page, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}, photo(b"cut"), photo(b""))
    expect(page.locator("h3")).to_have_text(["Not a photograph", "The service has no answer", "The file is empty"])
    expect(page.locator(".reason")).to_have_text(
        ["This is not a picture that can be read.", "The file is cut short.", "There is nothing in it."]
    )
    expect(page.locator(".photo .blank")).to_have_text(["No preview"] * 3)
    expect(page.get_by_role("status")).to_contain_text("notes.txt: Not a photograph.")
    assert len(service.asked("/recognise")) == 2


def test_a_file_that_is_too_large_is_not_sent(open_page, service):
    service.info["limits"]["bytes"] = 2_500_000
    service.says(APPLE, error(413, "too_large", "The picture has 30 megapixels."))
    page = open_page()
    expect(page.locator("#about")).to_contain_text("starter")
    choose(page, photo(bytes(2_600_000)), photo(APPLE))
    limits = "The service takes up to 2.5 MB and 25 megapixels. Make the photograph smaller."
    expect(page.locator(".reason")).to_have_text(
        [f"The file has 2.6 MB. {limits}", f"The picture has 30 megapixels. {limits}"]
    )
    assert [len(one[3]) for one in service.asked("/recognise")] == [len(APPLE)]


def test_a_busy_service_is_asked_again_after_the_time_that_it_names(open_page, service):
    service.says(APPLE, error(503, "busy", "Too much to do.", Retry_After="1"), answered(PRODUCT, NEAREST, PROMISE))
    page = open_page()
    started = time.monotonic()
    choose(page, photo(APPLE))
    expect(page.locator(".waiting")).to_contain_text("The service is busy. Next try in 1 s.")
    expect(page.locator("h3")).to_have_text("Oat drink")
    assert time.monotonic() - started >= 1
    assert len(service.asked("/recognise")) == 2


def test_a_service_that_stays_busy_is_asked_six_times_and_then_at_a_click(open_page, service):
    service.says(APPLE, error(503, "busy", "Too much to do.", Retry_After="1"))
    page = open_page()
    page.clock.install()
    choose(page, photo(APPLE))
    for tries in range(1, 6):
        expect(page.locator(".waiting")).to_contain_text("Next try")
        while len(service.asked("/recognise")) < tries:
            page.wait_for_timeout(10)
        page.clock.run_for(1_100)
    expect(page.locator("h3")).to_have_text("The service is busy")
    assert len(service.asked("/recognise")) == 6
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("h3")).to_have_text("Oat drink")


def test_a_page_that_is_opened_before_the_service_is_ready_learns_of_it_later(open_page, service):
    service.first = [error(503, "not_ready", "The service is loading. Ask again.", Retry_After="1")]
    page = open_page()
    expect(page.locator("#about")).to_have_text("The service is not ready yet.")
    expect(page.locator("#about")).to_have_text("starter · 400 products · 12,345 pictures")


def test_a_service_that_is_gone_is_told_and_asked_again_at_a_click(open_page, service):
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    page = open_page()
    page.route("**/recognise*", lambda route: route.abort())
    choose(page, photo(APPLE))
    expect(page.locator("h3")).to_have_text("The service does not answer")
    page.unroute("**/recognise*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("h3")).to_have_text("Oat drink")


def test_a_token_is_asked_for_sent_with_everything_and_kept_in_the_tab_alone(open_page, service):
    service.token = "correct horse"
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    page = open_page()
    field = page.get_by_label("Token of this service")
    expect(field).to_be_focused()
    choose(page, photo(APPLE))
    expect(page.locator(".waiting .hint")).to_have_text("Waits for the token.")
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#token-why")).to_have_text("The service does not accept this token.")
    field.fill("correct horse")
    page.get_by_role("button", name="Use this token").click()
    expect(page.locator("h3")).to_have_text("Oat drink")
    expect(field).to_be_hidden()
    all_loaded(page, 3)
    assert len(service.asked("/recognise")) == 1
    page.reload()
    expect(page.locator("#about")).to_contain_text("starter")
    expect(field).to_be_hidden()
    assert page.evaluate("[document.cookie, localStorage.length]") == ["", 0]
    expect(open_page().get_by_label("Token of this service")).to_be_visible()


def test_a_token_that_is_asked_for_later_loses_no_photograph(open_page, service):
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    service.says(PEAR, answered({**PRODUCT, "name": "Pear"}, NEAREST, PROMISE))
    page = open_page()
    expect(page.locator("#about")).to_contain_text("starter")
    service.token = "new"
    sent = []
    # The second refusal comes when the new token has been accepted already.
    page.route("**/recognise*", lambda route: (sent.append(route), len(sent) == 2 or route.continue_()))
    choose(page, photo(APPLE), photo(PEAR))
    page.get_by_label("Token of this service").fill("new")
    page.keyboard.press("Enter")
    expect(page.locator("h3")).to_have_count(1)
    sent[1].fulfill(status=401, json={"error": {"code": "token", "message": "The service wants its token."}})
    expect(page.locator("h3")).to_have_text(["Oat drink", "Pear"])


def test_search_only_shows_neighbours_and_goes_back_without_asking_again(open_page, service):
    service.says(APPLE, answered(PRODUCT, NEAREST, PROMISE))
    service.says(APPLE, Reply({"answers": [{"id": "0", "neighbours": [*NEAREST, *NEAREST]}]}), to="search")
    page = open_page()
    choose(page, photo(APPLE))
    expect(page.locator("h3")).to_have_text("Oat drink")
    page.get_by_role("switch", name="Search only").click()
    expect(page.locator("h3")).to_have_text("Most like Oat drink")
    expect(page.locator(".pictures li")).to_have_count(6)
    expect(page.locator("#promised")).to_be_hidden()
    expect(page.locator(".card .promise, .card .warning")).to_have_count(0)
    assert k_of(service.asked("/search")[0]) == ["10"]
    page.get_by_role("switch", name="Search only").click()
    expect(page.locator("h3")).to_have_text("Oat drink")
    expect(page.locator("#promised")).to_be_visible()
    assert len(service.asked("/recognise")) == 1


def test_without_an_index_there_is_no_search_only(open_page, service):
    service.info["index"] = None
    page = open_page()
    expect(page.get_by_role("switch", name="Search only")).to_be_disabled()
    expect(page.locator("#search-why")).to_have_text("Needs an index; the service was started without one.")


def test_a_picture_that_the_service_cannot_show_leaves_its_name(open_page, service):
    service.pictures["/product/3/picture/0"] = b"no picture"
    service.says(APPLE, answered({**PRODUCT, "neighbours": NEAREST[:1]}, NEAREST, PROMISE))
    page = open_page()
    choose(page, photo(APPLE))
    expect(page.locator(".pictures li")).to_have_text("No pictureOat drink0.93")
    assert len(service.asked("/product/3/picture/0")) == 2


def test_fifty_photographs_are_taken_at_once_and_two_are_asked_for_at_a_time(open_page, service):
    service.says(APPLE, answered({**PRODUCT, "neighbours": []}, [], PROMISE))
    page = open_page()
    under_way, most = set(), 0

    def began(request):
        nonlocal most
        if "/recognise" in request.url:
            under_way.add(request)
            most = max(most, len(under_way))

    page.on("request", began)
    page.on("requestfinished", lambda request: under_way.discard(request))
    choose(page, *[photo(APPLE, f"{number}.jpg") for number in range(53)])
    expect(page.locator("#notice")).to_have_text("The first 50 of 53 photographs were taken.")
    expect(page.locator(".card.product")).to_have_count(50)
    assert most == 2
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#answers")).to_be_hidden()


def test_a_telephone_offers_its_camera(open_page):
    camera = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800}).locator("#camera")
    expect(camera).to_be_visible()
    assert camera.get_attribute("capture") == "environment"
    expect(open_page().locator("#camera")).to_be_hidden()


def test_no_text_becomes_markup_whatever_a_script_does_with_it(browser, service):
    page = browser.new_page()
    page.goto(service.url)
    tried = [
        "document.body.innerHTML = '<b>bold</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>bold</b>')",
        "document.createElement('script').text = 'window.ran = true'",
        "trustedTypes.createPolicy('own', { createHTML: (text) => text })",
    ]
    wrong = page.evaluate(f"() => [{', '.join(f'() => {{ {one} }}' for one in tried)}].map(RAN)".replace("RAN", RAN))
    assert wrong == ["TypeError"] * len(tried)
    assert page.locator("b").count() == 0
    page.close()
