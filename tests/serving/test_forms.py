"""Forms against the standard library's own parser of mail, and forms that try to be clever."""

from __future__ import annotations

import contextlib
import time
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.serving.multipart import files_of
from shelfmark.serving.refusals import Refused

BOUNDARY = "bound-ary"
NAMES = st.sampled_from(["file", "other", "filename"])
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"", b"\r\n", b"--bound-ar", b"\r\n--bound-ar", b"--", b"\r\n\r\n", b"--bound-ary"[1:]]),
)


def form(parts: list[tuple[str, bytes]], blanks: str = "") -> bytes:
    lines = [
        f'--{BOUNDARY}{blanks}\r\nContent-Type: image/jpeg\r\ncontent-disposition: form-data; filename="file.jpg";'
        f' name="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in parts
    ]
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


def by_mail(kind: str, body: bytes) -> list[bytes]:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    parts = message.get_payload()
    return [
        one.get_payload(decode=True) for one in parts if one.get_param("name", header="content-disposition") == "file"
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=5), st.sampled_from(["", " ", "\t "]), st.booleans())
def test_the_files_are_those_that_were_put_in(parts, blanks, quoted):
    kind = (
        f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"'
        if quoted
        else f"multipart/form-data;boundary={BOUNDARY}"
    )
    assert files_of(kind, form(parts, blanks), 5) == [content for name, content in parts if name == "file"]


def test_the_standard_library_reads_the_same_files():
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    body = form([("file", b"one"), ("other", b"two"), ("file", b"th\n\nree")])
    assert files_of(kind, body, 5) == by_mail(kind, body) == [b"one", b"th\n\nree"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_files_or_refused(body):
    """No error of another kind."""
    with contextlib.suppress(Refused):
        assert len(files_of("multipart/form-data; boundary=x", body, 3)) <= 3


@pytest.mark.parametrize("filling", [b"\r\n--bound-ar", b"\r\n--bound-ary\r\n", b"-", b"\r\n"])
def test_ten_megabytes_of_almost_boundaries_cost_no_more_than_their_reading(filling):
    started = time.process_time()
    with pytest.raises(Refused):
        files_of(f"multipart/form-data; boundary={BOUNDARY}", filling * (10_000_000 // len(filling)), 16)
    assert time.process_time() - started < 2
