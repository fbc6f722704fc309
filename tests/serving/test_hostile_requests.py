"""Requests that nobody sends by mistake. Each is refused, and the service answers the next as if nothing had been."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from exported import write_exported
from served import Reply, Served, everything, form, photographs, served, until

from shelfmark.serving.access import Access
from shelfmark.serving.limits import Limits
from shelfmark.serving.versions import Source

LIMITS = Limits(body_bytes=100_000, pixels=1_000_000, pictures=3)
CHUNKED = b"POST /recognise HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    write_exported(place / "exported")
    photographs(place / "photos", 1)
    return place


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Served]:
    with served(Source(model=place / "exported", decoders=1), Access(frozenset({"shop.example"})), None, LIMITS) as one:
        yield one


@pytest.fixture
def photo(place: Path, service: Served) -> Iterator[bytes]:
    """A good photograph, which is answered after the test too, by the same decoding process."""
    data = (place / "photos" / "0.jpg").read_bytes()
    before = set(service.service.current.version.decoders._all)
    yield data
    assert service.post("/recognise", data).status == 200
    assert set(service.service.current.version.decoders._all) == before
    assert service.service.room.held_bytes == 0
    assert service.service.admission.under_way == 0


def png_head(width: int, height: int) -> bytes:
    """The beginning of a PNG that says it has so many pixels, and a little of them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(service, photo):
    with service.raw() as connection:
        connection.sendall(b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_asks_first_sends_nothing_of_a_body_that_is_too_large(service, photo):
    with service.raw() as connection:
        head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_unknown_length_is_counted_while_it_comes(service, photo):
    with service.raw() as connection:
        connection.sendall(CHUNKED)
        chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        for _ in range(13):  # the thirteenth passes 100,000; no end is ever sent
            connection.sendall(chunk)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_the_files_of_a_form_count_together(service, photo):
    reply = service.post_form("/recognise", [("file", b"x" * 60_000), ("file", b"x" * 60_000)])
    assert (reply.status, reply.code) == (413, "too_large")


def test_too_many_pictures_are_refused_whatever_their_parts_are_called(service, photo):
    four = service.post_form("/recognise", [("file", photo)] * 4)
    assert (four.status, four.code) == (413, "too_many_pictures")
    thousand = service.post_form("/recognise", [("other", b"")] * 900)
    assert (thousand.status, thousand.code) == (413, "too_many_pictures")


@pytest.mark.parametrize("size", [(30_000, 30_000), (1001, 1000), (2**31 - 1, 2**31 - 1), (1, 1_000_001)])
def test_a_bomb_is_known_by_its_head(service, photo, size):
    reply = service.post("/recognise", png_head(*size))
    assert (reply.status, reply.code) == (422, "too_many_pixels")


@pytest.mark.parametrize(
    "body",
    [
        b"http://127.0.0.1/photo.jpg",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%PDF-1.7",
        b"PK\x03\x04" + bytes(100),
        b"\x00" * 5000,
        b"GIF89a",
        b"\xff\xd8\xff\xe0",
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(50),
        b"II*\x00\xff\xff\xff\xff",
        b"%!PS-Adobe-3.0 EPSF-3.0",
    ],
    ids=["address", "svg", "pdf", "zip", "zeros", "gif head", "jpeg head", "webp head", "tiff head", "postscript"],
)
def test_what_is_no_whole_picture_is_refused_by_its_content(service, photo, body):
    reply = service.post("/recognise", body, **{"Content-Type": "image/jpeg"})
    assert (reply.status, reply.code in ("not_an_image", "unreadable")) == (422, True)


def test_no_address_is_fetched_and_a_form_needs_a_file(service, photo):
    reply = service.post_form("/recognise", [("url", b"http://127.0.0.1:9/x.jpg")])
    assert (reply.status, reply.code) == (400, "no_picture")
    assert service.post("/recognise", b"").code == "no_picture"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=", b"--x--"),
        ("multipart/form-data; boundary=" + "x" * 71, b"--x--"),
        ("multipart/mixed; boundary=x", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\ncut off"),
        ("multipart/form-data; boundary=x", b"--x\r\nno head\r\n--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"h" * 5000 + b"\r\n\r\n\r\n--x--"),
    ],
)
def test_a_form_that_is_none_is_refused(service, photo, kind, body):
    reply = service.post("/recognise", body, **{"Content-Type": kind})
    assert (reply.status, reply.code) == (400, "wrong_body")


def test_a_compressed_body_is_not_unpacked(service, photo):
    reply = service.post("/recognise", zlib.compress(bytes(90_000)), **{"Content-Encoding": "deflate"})
    assert (reply.status, reply.code) == (415, "wrong_encoding")


def test_a_client_that_goes_in_the_middle_of_its_body_leaves_nothing(service, photo, caplog):
    caplog.set_level(logging.ERROR)
    for part in (b"", b"x" * 500):
        with service.raw() as connection:
            connection.sendall(b"POST /recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + part)
    with service.raw() as connection:
        connection.sendall(CHUNKED + b"5\r\nab")
    # A line about a request that an earlier test sent may come as late as this.
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000,
        b"GET /" + b"x" * 20_000,
        b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        CHUNKED + b"zz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    ],
    ids=["tls", "no host", "two hosts", "long head", "long path", "negative", "two lengths", "no chunk", "nul"],
)
def test_what_is_no_http_is_answered_once_and_closed(service, photo, request_bytes):
    with service.raw() as connection:
        connection.sendall(request_bytes)
        found = everything(connection)
    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.count(b"HTTP/1.1 4") == 1


def test_a_long_head_is_refused_though_it_is_whole(service, photo):
    for reply in (service.get("/info", X="x" * 20_000), service.get("/info?" + "x" * 20_000)):
        assert (reply.status, reply.code) == (431, "too_large")


def test_requests_one_behind_the_other_are_answered_in_their_order(service, photo):
    ask = b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with service.raw() as connection:
        connection.sendall(ask + ask + last)
        found = everything(connection)
    assert re.findall(rb"HTTP/1.1 (\d+) ", found) == [b"200", b"200", b"404"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "OPTIONS", "GET", "BREW"])
def test_other_methods_are_refused(service, photo, method):
    assert service.ask(method, "/recognise").status == 405


def test_a_websocket_is_not_opened(service, photo):
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
    assert service.get("/recognise", **upgrade).status == 405


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/docs", "/redoc", "/../etc/passwd", "/page/../page.js", "//etc/passwd"]
)
def test_there_is_no_description_and_no_file(service, photo, path):
    assert service.get(path).code == "not_found"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "[::1", "127.0.0.1.evil", ""]
)
def test_a_name_that_is_not_the_services_own_is_refused(service, photo, host):
    reply = service.get("/info", Host=host)
    assert (reply.status, reply.code) == (421, "wrong_host")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:80", "10.0.0.7", "Shop.Example:443"]
)
def test_own_names_and_addresses_in_numbers_are_answered(service, photo, host):
    assert service.get("/info", Host=host).status == 200


def test_a_page_of_another_site_may_not_ask(service, photo):
    origin = {"Host": "localhost:8000", "Origin": "http://localhost:3000"}
    for headers in (origin, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
        reply = service.post("/recognise", photo, **headers)
        assert (reply.status, reply.code) == (403, "other_site"), headers
    own = {"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    assert service.post("/recognise", photo, **own).status == 200


@pytest.mark.parametrize("origin", ["http://[", "http://[secret]", "http://\u212a", "//", ""])
def test_an_origin_that_is_no_address_is_of_another_site(service, photo, origin, caplog):
    reply = service.post("/recognise", photo, Origin=origin.encode().decode("latin-1"))
    assert (reply.status, reply.code) == (403, "other_site")
    assert "secret" not in caplog.text


def test_a_request_of_two_lengths_is_refused_and_nothing_behind_it_is_answered(service, photo):
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = service.sent(head + b"0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+) ", found) == [b"400"]


def test_every_answer_and_refusal_has_the_headers_and_no_word_of_the_server(service, photo, place):
    kind, cut = form([("file", photo)])
    replies: list[Reply] = [
        service.post("/recognise", photo),
        service.post("/recognise", b"x"),
        service.post("/recognise", cut[:-9], **{"Content-Type": kind}),
        service.post("/embed", b"x" * 100_001),
        service.get("/nothing"),
        service.get("/info"),
        service.get("/metrics"),
        service.get("/info", Host="evil.example"),
        service.ask("DELETE", "/info"),
    ]
    for reply in replies:
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "server" not in reply.headers
        assert str(place).encode() not in reply.body
        assert b"Traceback" not in reply.body


def test_the_log_has_nothing_that_a_client_chose(service, photo, caplog):
    caplog.set_level(logging.DEBUG)
    service.post_form("/recognise?k=3", [("file", photo)])
    service.post("/<script>/%0aHTTP", photo, **{"User-Agent": "secret agent"})
    service.get("/product/secret%0aname/picture/0")
    text = caplog.text
    assert "POST /recognise 200" in text
    for chosen in ("passwd", "script", "secret", "k=3"):
        assert chosen not in text


def test_a_mistake_of_the_service_is_told_without_its_inside(service, photo, monkeypatch, caplog):
    monkeypatch.setattr(service.service.current.version.answerer, "recognised", lambda outputs, k: 1 / 0)
    reply = service.post("/recognise", photo)
    assert (reply.status, reply.code) == (500, "internal")
    assert b"division" not in reply.body
    until(lambda: "ZeroDivisionError" in caplog.text)
    monkeypatch.undo()
