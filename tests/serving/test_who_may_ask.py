"""The token, the file that it stands in, and what a service that others reach needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmark.core.errors import UserError
from shelfmark.serving import access
from shelfmark.serving.access import Access
from shelfmark.serving.refusals import Refused

TOKEN = "0123456789abcdef0123"
HOST = {"host": "localhost"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host):
    assert Access.of(host, [], None).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "shop.example", ""])
def test_an_address_that_others_reach_needs_a_token(host, tmp_path):
    with pytest.raises(UserError, match="--token-file"):
        Access.of(host, [], None)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert Access.of(host, ["Shop.Example"], file).token == TOKEN


@pytest.mark.parametrize(
    "name", ["shop.example:8000", "http://shop.example", "*", "*.shop.example", "läden.example", ""]
)
def test_a_further_name_that_no_request_can_have_is_refused(name):
    with pytest.raises(UserError, match="--allow-host .* is no name"):
        Access.of("127.0.0.1", [name], None)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r\n\r\n", " "])
def test_blanks_and_ends_of_lines_are_no_part_of_the_token(end, tmp_path):
    file = tmp_path / "token"
    file.write_bytes(f"{TOKEN}{end}".encode())
    assert access.read_token(file) == TOKEN


@pytest.mark.parametrize(
    "text", ["", "short", "two words of enough letters", "x" * 5000, "ü" * 30, "\0" * 30, "bell\a" * 9]
)
def test_a_token_that_is_none_is_refused(text, tmp_path):
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(UserError, match="--token-file"):
        access.read_token(file)
    with pytest.raises(UserError, match="cannot be read"):
        access.read_token(Path(tmp_path))


@pytest.mark.parametrize(
    ("authorization", "is_right"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN}", True),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        ("Bearer ", False),
        ("Bearer \xff", False),
        (None, False),
    ],
)
def test_every_request_needs_the_token(authorization, is_right):
    headers = HOST if authorization is None else {**HOST, "authorization": authorization}
    for path, method in (("/recognise", "POST"), ("/metrics", "GET"), ("/v2/models/shelfmark/infer", "POST")):
        if is_right:
            Access(token=TOKEN).check(path, method, headers)
        else:
            with pytest.raises(Refused) as refused:
                Access(token=TOKEN).check(path, method, headers)
            assert (refused.value.status, refused.value.headers) == (401, {"www-authenticate": "Bearer"})


def test_health_and_the_page_are_asked_without_it():
    for path in ("/health/ready", "/v2/health/live", "/", "/page.js"):
        Access(token=TOKEN).check(path, "GET", HOST)


def test_tokens_are_compared_by_digests_of_one_length_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(
        access.hmac, "compare_digest", lambda one, other: compared.append((len(one), len(other))) or False
    )
    for given in (TOKEN, "x", ""):
        with pytest.raises(Refused):
            Access(token=TOKEN).check("/info", "GET", {**HOST, "authorization": f"Bearer {given}"})
    assert compared == [(32, 32)] * 3


def test_a_link_of_another_site_opens_the_page_and_nothing_else():
    link = {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    Access().check("/", "GET", link)
    for path, method in (("/info", "GET"), ("/", "POST")):
        with pytest.raises(Refused, match="other sites"):
            Access().check(path, method, link)
    with pytest.raises(Refused, match="other sites"):
        Access().check("/", "GET", {**link, "sec-fetch-mode": "no-cors"})
