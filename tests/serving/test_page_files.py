"""The files of the page, read without a browser."""

from __future__ import annotations

import re

from shelfmark.serving.access import OPEN_PATHS
from shelfmark.serving.page import PAGE, PAGE_FILES
from shelfmark.serving.page_files import page_files

DOCUMENT = (PAGE / "index.html").read_text(encoding="utf-8")
SCRIPT = "".join((PAGE / name).read_text(encoding="utf-8") for name in ("page.js", "why.js"))
STYLE = (PAGE / "page.css").read_text(encoding="utf-8")


def test_the_list_of_files_is_the_folder():
    assert set(PAGE_FILES) == {one.name for one in PAGE.iterdir() if one.is_file() and one.suffix != ".py"}


def test_no_token_is_needed_for_the_files_of_the_page():
    assert set(page_files()) <= OPEN_PATHS


def test_the_page_asks_for_its_own_files_alone():
    asked = set(re.findall(r'(?:src|href)="([^"]+)"', DOCUMENT))
    assert asked == set(PAGE_FILES) - {"index.html"}
    # The name of a language, which no browser fetches.
    texts = [DOCUMENT, SCRIPT, STYLE, (PAGE / "icon.svg").read_text().replace("http://www.w3.org/2000/svg", "")]
    assert [
        found for text in texts for found in re.findall(r"https?:|url\(|@import|(?<![:/])//\w[\w.-]*\.\w+/", text)
    ] == []


def test_nothing_is_written_into_the_document_that_a_strict_policy_forbids():
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", DOCUMENT) == []
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", SCRIPT) == []
    )
