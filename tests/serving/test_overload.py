"""More requests than can be answered, from a checkpoint in torch: what is refused is refused at once, with a time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from served import Reply, Served, served, until
from untrained_models import make_place

import shelfmark
from shelfmark.runtime.explainer import Explainer
from shelfmark.runtime.trained_model import open_model
from shelfmark.serving.limits import Limits
from shelfmark.serving.versions import Source


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("overload")
    make_place(place)
    return place


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Served]:
    source = Source(checkpoint=place / "log" / "run" / "last", decoders=1)
    with served(source, limits=Limits(queue=2, queue_s=1000, decode_s=1000, buffered_bytes=3000)) as running:
        yield running


@pytest.fixture(scope="module")
def photos(place: Path) -> list[Path]:
    return sorted((place / "pictures").glob("val_*.png"))[:5]


@contextmanager
def held(service: Served) -> Iterator[None]:
    """The decoding process stands still in the block, so what was taken stays under way."""
    [process] = service.service.current.version.decoders._all
    os.kill(process._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process._process.pid, signal.SIGCONT)


def test_a_checkpoint_gives_the_numbers_of_its_own_program(service, place, photos):
    reply = service.post_form("/embed", [("file", one.read_bytes()) for one in photos[:1]])
    model = shelfmark.load(place / "log" / "run" / "last")
    np.testing.assert_allclose(reply.json["answers"][0]["embedding"], model.embed(photos[:1])[0], atol=1e-5)
    [answer] = service.post("/recognise", photos[1].read_bytes()).json["answers"]
    chances = model.predict(photos[1:2])[0]
    assert answer["answer"]["class"] == int(chances.argmax())
    assert answer["answer"]["name"] == f"class {chances.argmax()}"
    assert answer["answer"]["score"] == pytest.approx(float(chances.max()), abs=1e-6)


def test_a_checkpoint_says_which_regions_of_the_photograph_speak_for_the_answer(service, place, photos):
    [answer] = service.post("/recognise?explain=1", photos[1].read_bytes()).json["answers"]
    [plain] = service.post("/recognise", photos[1].read_bytes()).json["answers"]
    why = answer.pop("explanation")
    assert answer == plain
    assert why["classes"] == [one["class"] for one in plain["candidates"][:2]]
    expected = Explainer(open_model(place / "log" / "run" / "last")).explain(photos[1])
    assert (why["method"], why["picture_px"]) == (expected.method, [18, 20])
    assert why["difference"] == pytest.approx(expected.difference, abs=1e-4)
    assert [one["share"] for one in why["regions"]] == pytest.approx([one.share for one in expected.regions], abs=1e-4)
    for name in ("regions", "against"):
        told = [(one["where"], one["box"]) for one in why[name]]
        assert told == [(one.where, one.box.as_json()) for one in getattr(expected, name)]
    assert service.get("/info").json["explains"] is True


def test_above_the_queue_a_request_is_refused_at_once_and_the_others_are_answered(service, photos):
    photo = photos[0].read_bytes()
    replies: list[Reply] = []
    with held(service):
        asking = [threading.Thread(target=lambda: replies.append(service.post("/embed", photo))) for _ in range(2)]
        for one in asking:
            one.start()
        until(lambda: service.service.admission.under_way == 2)
        with service.raw() as connection:
            # Refused by its head: the body is never sent.
            connection.sendall(b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n")
            refused = b""
            while b"}" not in refused:
                refused += connection.recv(65536).lower()
        assert refused.startswith(b"http/1.1 503 ")
        assert b"\r\nretry-after: " in refused
        assert b'"code":"busy"' in refused
        # What costs nothing is answered all the same.
        assert service.get("/health/ready").status == 200
        assert b"shelfmark_pictures_under_way 2.0" in service.get("/metrics").body
    for one in asking:
        one.join(120)
    assert [one.status for one in replies] == [200, 200]
    assert service.post("/embed", photo).status == 200


def test_the_bodies_of_all_requests_together_have_a_limit(service, photos):
    photo = photos[0].read_bytes()
    with service.raw() as connection:
        connection.sendall(b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + b"x" * 2500)
        until(lambda: service.service.room.held_bytes == 2500)
        assert len(photo) > 500
        assert service.post("/embed", photo).code == "busy"
    until(lambda: service.service.room.held_bytes == 0)
    assert service.post("/embed", photo).status == 200


def test_a_request_of_more_pictures_than_are_free_is_refused_after_its_body(service, photos):
    photo = photos[0].read_bytes()
    replies: list[Reply] = []
    with held(service):
        asking = threading.Thread(target=lambda: replies.append(service.post("/embed", photo)))
        asking.start()
        until(lambda: service.service.admission.under_way == 1)
        assert service.post_form("/embed", [("file", photo[:200])] * 2).code == "busy"
    asking.join(120)
    assert replies[0].status == 200
