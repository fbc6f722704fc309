"""The packages pymilvus and milvus-lite, which may be missing: nothing else imports them.

A file of milvus-lite is served by this process itself, on a socket in a folder that only its user may enter, until the
process ends or `disconnect` is called. So two indexes of one file share it, and no other process can open it meanwhile.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.core.milvus_place import TOKEN, TOKEN_FILE, Place, token
from shelfmark.retrieval import faiss_module

_CONNECT_S = 10.0
_LONGEST_SOCKET = 100
_lock = threading.Lock()
_open: dict[tuple[int, Place], _Opened] = {}


class _Opened:
    """A client, and for a file what serves it."""

    def __init__(self, client: Any, served: _Served | None) -> None:
        self.client, self.served = client, served

    def close(self) -> None:
        with suppress(Exception):
            self.client.close()
        if self.served is not None:
            self.served.close()


def connected(place: Place) -> Any:
    """A pymilvus.MilvusClient of the place, one a process. UserError: it is not there, in use, or refuses the token."""
    key = (os.getpid(), place)
    with _lock:
        if key not in _open:
            _open[key] = _opened(place)
        return _open[key].client


def disconnect() -> None:
    """Closes all that this process has open; what is asked later opens it again."""
    with _lock:
        for key in [key for key in _open if key[0] == os.getpid()]:
            _open.pop(key).close()


def pymilvus_for(place: Place) -> Any:
    """The module pymilvus, or a UserError where it is missing."""
    if importlib.util.find_spec("pymilvus") is None:
        raise UserError(f"--store {place} needs pymilvus: pip install -e '.[milvus]'.")
    # Else a stopped server is told of by gRPC itself, on standard error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import pymilvus

    # They write what they raise, with a traceback, to standard error too.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return pymilvus


@contextmanager
def told(place: Place) -> Iterator[None]:
    """Turns the errors of pymilvus within into UserErrors."""
    module = pymilvus_for(place)
    import grpc

    try:
        yield
    except module.MilvusException as error:
        raise UserError(f"{place} answered: {_first_line(error)}") from error
    except grpc.RpcError as error:
        raise UserError(f"{place} does not answer: {_first_line(error)}. Is it still running?") from error


def _opened(place: Place) -> _Opened:
    module = pymilvus_for(place)
    if place.file is not None:
        served = _Served(place.file)
        try:
            return _Opened(module.MilvusClient(uri=f"unix:{served.socket}", dedicated=True), served)
        except BaseException:
            served.close()
            raise
    secret = token()
    if secret and not place.is_secure and not place.is_here:
        warn(f"the token goes to {place} unencrypted: anyone between can read it. milvus+tls:// encrypts")
    try:
        client = module.MilvusClient(
            uri=place.uri,
            token=secret,
            db_name=place.database,
            secure=place.is_secure,
            timeout=_CONNECT_S,
            # Else one that was closed is still used.
            dedicated=True,
        )
    except module.MilvusException as error:
        refusal = f" If it wants a token, set {TOKEN}, or {TOKEN_FILE} to a file with it." if not secret else ""
        raise UserError(
            f"{place} cannot be reached: {_first_line(error)}. Is the server running, and the address right?{refusal}"
        ) from error
    return _Opened(client, None)


class _Served:
    """A file of milvus-lite, served on a socket."""

    def __init__(self, file: Path) -> None:
        start, locked = _milvus_lite(file)
        _require_folder(file)
        self._folder = tempfile.mkdtemp(prefix="shelfmark-")
        if len(self._folder) > _LONGEST_SOCKET - 10:
            os.rmdir(self._folder)
            self._folder = tempfile.mkdtemp(prefix="shelfmark-", dir="/tmp")
        self.socket = f"{self._folder}/socket"
        try:
            self._server, self._database, _ = start(str(file), host="unix", port=self.socket)
        except BaseException as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            if isinstance(error, locked):
                raise UserError(
                    f"{file} is in use by another process, and milvus-lite lets one process at a time open a file. Wait"
                    " until it has ended; for several at once take a server: --store milvus://HOST:PORT."
                ) from None
            if isinstance(error, OSError):
                raise UserError(f"{file} cannot be opened: {error.strerror or error}.") from None
            raise

    def close(self) -> None:
        with suppress(Exception):
            self._server.stop(grace=1).wait()
        with suppress(Exception):
            self._database.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _require_folder(file: Path) -> None:
    if file.is_file():
        raise UserError(
            f"{file} is a file; milvus-lite from version 3 on keeps a folder of this name, and cannot read the files of"
            " earlier ones. Give another name."
        )
    if not file.parent.is_dir():
        raise UserError(f"{file} cannot be made: {file.parent} is no folder.")


def _milvus_lite(file: Path) -> tuple[Any, type[Exception]]:
    """The function that serves a file, and its error for one that another process has open."""
    if importlib.util.find_spec("milvus_lite") is None:
        raise UserError(
            f"{file} needs milvus-lite, which brings faiss-cpu: pip install -e '.[milvus]'. With faiss-gpu installed,"
            " take a server: --store milvus://HOST:PORT."
        )
    if said := faiss_module.two_packages_installed():
        raise UserError(
            f"{file}: milvus-lite searches with faiss-cpu, and cannot stand beside faiss-gpu. {said} Or keep faiss-gpu"
            " alone, and take a server: --store milvus://HOST:PORT."
        )
    from milvus_lite.adapter.grpc.server import start_server_in_thread
    from milvus_lite.exceptions import DataDirLockedError

    return start_server_in_thread, DataDirLockedError


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or getattr(error, "details", lambda: "")() or error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


atexit.register(disconnect)
