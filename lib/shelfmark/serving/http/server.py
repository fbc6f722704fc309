"""The service as a process: it listens, loads, watches, obeys signals and drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass

import uvicorn

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.serving.access import Access
from shelfmark.serving.http.app import build_app
from shelfmark.serving.http.connections import connection_class, look_after
from shelfmark.serving.limits import Limits
from shelfmark.serving.service import Service
from shelfmark.serving.versions import Source

_WATCH_S = 2.0
_BACKLOG = 256


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where the service listens and what it does besides. port: 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    watch: bool = False
    openapi: bool = False


class Server:
    """A service that listens from the beginning. UserError: the address cannot be listened on.

    address: host and port. service: None until `run` was called.
    """

    def __init__(self, source: Source, access: Access, listening: Listening, limits: Limits | None = None) -> None:
        self.source, self.access, self.listening, self.limits = source, access, listening, limits or Limits()
        self._listener = _listener(listening)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.service: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> int:
        """Answers until SIGTERM, Ctrl-C or `drain`; when what is under way then is answered, the number of requests.

        SIGHUP, and with `watch` a folder that was published anew, loads what is there now. Outside the main thread
        signals are not heard. UserError: the model or the index cannot be opened.
        """
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        with self._listener:
            asyncio.run(self._run())
        return self._server.server_state.total_requests

    def drain(self) -> None:
        """Ends the service as SIGTERM does; from any thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._start_drain)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.service = service = Service(self.source, self.limits)
        self._server = server = _Uvicorn(self._config(service))
        if threading.current_thread() is threading.main_thread():
            self._hear_signals(service)
        host, port = self.address
        say(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")
        self._start(look_after(server.server_state.connections))
        loading = self._start(self._load(service))
        if self.listening.watch:
            self._start(_watch(service))
        try:
            await server.serve(sockets=[self._listener])
        finally:
            for task in self._tasks:
                task.cancel()
            await service.close()
        if loading.done() and not loading.cancelled():
            loading.result()
        say("drained")

    def _config(self, service: Service) -> uvicorn.Config:
        limits = self.limits
        return uvicorn.Config(
            build_app(service, self.access, self.listening.openapi),
            http=connection_class(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=int(limits.idle_s),
            timeout_graceful_shutdown=int(limits.drain_s),
            h11_max_incomplete_event_size=limits.head_bytes,
        )

    def _hear_signals(self, service: Service) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._start_drain)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._start(service.reload()))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _load(self, service: Service) -> None:
        try:
            await service.load()
        except BaseException:
            self._server.should_exit = True
            raise

    def _start_drain(self) -> None:
        assert self.service is not None
        if self.service.state == "draining":
            # Asked a second time, it does not wait for who is still answered.
            self._server.force_exit = True
        self.service.state = "draining"
        # Who looks at /health/ready sends no more requests before new connections are refused.
        asyncio.get_running_loop().call_later(self.limits.closing_s, self._close)

    def _close(self) -> None:
        self._server.should_exit = True


async def _watch(service: Service) -> None:
    while True:
        await asyncio.sleep(_WATCH_S)
        if service.is_ready and await asyncio.to_thread(lambda: service.current.is_stale):
            await service.reload()


class _Uvicorn(uvicorn.Server):
    """Without its signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        yield


def _listener(listening: Listening) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise UserError(
            f"--host {listening.host} --port {listening.port} cannot be listened on: {error.strerror}. Another service"
            " may be there: give another --port, or 0 for a free one."
        ) from None
    return listener
