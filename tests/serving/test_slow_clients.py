"""Clients that take their time. Each limit is one second here, so a test waits seconds at most."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from exported import write_exported
from served import Served, everything, photographs, served

from shelfmark.serving.http.server import Listening
from shelfmark.serving.limits import Limits
from shelfmark.serving.versions import Source

LIMITS = Limits(header_s=1, body_s=1, idle_s=1, write_s=1, connections=8)
HEAD = b"POST /recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("slow")
    write_exported(place / "exported")
    with served(Source(model=place / "exported", decoders=1), None, Listening(port=0, openapi=True), LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    [file] = photographs(tmp_path_factory.mktemp("photos"), 1)
    return Path(file).read_bytes()


def dripped(connection: socket.socket, drop: bytes) -> bytes:
    """Sends a little again and again, until the service ends the connection; what it said."""
    connection.setblocking(False)
    said = b""
    while True:
        try:
            connection.sendall(drop)
            said += connection.recv(65536)
        except BlockingIOError:
            time.sleep(0.1)
        except ConnectionError:
            return said


def test_a_head_that_comes_letter_by_letter_is_cut_off(service):
    with service.raw() as connection:
        connection.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert dripped(connection, b"a") == b""


def test_a_second_head_has_no_more_time_than_the_first(service):
    with service.raw() as connection:
        connection.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\nGET /info HTTP/1.1\r\nX: ")
        assert dripped(connection, b"a").count(b"HTTP/1.1 200") == 1


def test_a_body_that_comes_letter_by_letter_is_refused_and_cut_off(service):
    with service.raw() as connection:
        connection.sendall(HEAD)
        assert dripped(connection, b"a").startswith(b"HTTP/1.1 408 ")
    assert service.service.room.held_bytes == 0


def test_what_is_sent_after_a_refusal_is_not_read_for_ever(service):
    with service.raw() as connection:
        connection.sendall(b"POST /recognise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert dripped(connection, b"a" * 1000).startswith(b"HTTP/1.1 413 ")


def test_a_connection_without_a_word_is_closed(service):
    with service.raw() as connection:
        assert everything(connection) == b""
    with service.raw() as connection:
        connection.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_the_answers_is_cut_off(service):
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(service.address)
        connection.sendall(ask * 200)
        deadline = time.monotonic() + 60
        while not (before := connections(service)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while any(one in connections(service) for one in before):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_slow_clients_that_take_all_connections_make_room_for_others(service, photo):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(service.raw()) for _ in range(LIMITS.connections)]
        for connection in slow:
            connection.sendall(HEAD[:20])
        for _ in range(3):
            assert service.post("/recognise", photo).status == 200
        assert len(connections(service)) <= LIMITS.connections


def connections(service: Served) -> list[object]:
    return list(service.server._server.server_state.connections)
