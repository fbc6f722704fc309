"""Every limit of the service in one place. docs/serving.md names, for each, the test that proves it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """body_bytes: of one request, counted while it arrives. pixels: width times height of a picture. pictures: of one
    request. buffered_bytes: of the bodies that are held at the same time.

    decode_s, decode_bytes: time and memory for one picture in a decoding process.
    header_s, body_s, write_s, idle_s: how long a client may take to send the head of a request or its body, to read
    what was written, and to say nothing. connections: open at the same time. head_bytes: of the head of a request.
    batch: pictures that the model is given at once. wait_s: how long a batch waits for a picture that is being decoded.
    queue: pictures under way at the same time. queue_s: the longest wait that a request is taken for; see `Admission`.
    drain_s: from SIGTERM to the end, for answers that are under way. closing_s: of it, before new connections are
    refused, so that who asks `/health/ready` learns of it.
    """

    body_bytes: int = 10_000_000
    pixels: int = 25_000_000
    pictures: int = 16
    buffered_bytes: int = 256_000_000
    decode_s: float = 10.0
    decode_bytes: int = 1_000_000_000
    header_s: float = 10.0
    body_s: float = 30.0
    write_s: float = 30.0
    idle_s: float = 30.0
    connections: int = 256
    head_bytes: int = 16_384
    batch: int = 8
    wait_s: float = 0.005
    queue: int = 128
    queue_s: float = 0.5
    drain_s: float = 30.0
    closing_s: float = 0.5
