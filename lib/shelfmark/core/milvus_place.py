"""Where a Milvus is: the text of `--store`, and the token that opens it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.errors import UserError

TOKEN, TOKEN_FILE = "SHELFMARK_MILVUS_TOKEN", "SHELFMARK_MILVUS_TOKEN_FILE"
PORT = 19530
_PLAIN, _SECURE = "milvus://", "milvus+tls://"
_SERVER = re.compile(r"(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?(?:/(?P<database>[A-Za-z_]\w*))?/?")
_HERE = ("localhost", "127.0.0.1", "[::1]")
_FORMS = (
    "milvus://file.db (milvus-lite, a path from the working folder; milvus:///folder/file.db from the root),"
    " milvus://host:19530 or milvus://host:19530/database (a server), milvus+tls://host (a server, encrypted)"
)


@dataclass(frozen=True)
class Place:
    """file: of milvus-lite, absolute; None for a server. host, port, database: of a server; "" for its default one."""

    file: Path | None = None
    host: str = ""
    port: int = PORT
    database: str = ""
    is_secure: bool = False

    @classmethod
    def of(cls, text: str) -> Place:
        """Reads `--store`. UserError: it is no such address, or has a password in it."""
        scheme = next((one for one in (_PLAIN, _SECURE) if text.startswith(one)), None)
        if scheme is None:
            raise UserError(f"--store {text!r} is not the address of a Milvus. It is one of: {_FORMS}.")
        rest = text.removeprefix(scheme)
        if rest.endswith(".db") and scheme == _PLAIN:
            return cls(Path(os.path.abspath(rest)))
        if "@" in rest:
            # Not the text itself: it has a password.
            raise UserError(
                f"--store has a user name or a password in it, which other users of the machine can read. Give the"
                f" address alone, and `user:password` or a token by the variable {TOKEN}, or in a file that"
                f" {TOKEN_FILE} names."
            )
        found = _SERVER.fullmatch(rest)
        if found is None or not 0 < int(found["port"] or PORT) < 1 << 16:
            raise UserError(f"--store {text!r} names neither a file *.db nor a server. It is one of: {_FORMS}.")
        port = int(found["port"] or PORT)
        return cls(None, found["host"], port, found["database"] or "", scheme == _SECURE)

    def __str__(self) -> str:
        if self.file is not None:
            return f"{_PLAIN}{self.file}"
        database = f"/{self.database}" if self.database else ""
        return f"{_SECURE if self.is_secure else _PLAIN}{self.host}:{self.port}{database}"

    @property
    def is_here(self) -> bool:
        """Whether nothing that is sent leaves this machine."""
        return self.file is not None or self.host in _HERE

    @property
    def uri(self) -> str:
        """Of a server, in the form that pymilvus takes."""
        return f"{'https' if self.is_secure else 'http'}://{self.host}:{self.port}"


def token() -> str:
    """The token of the environment, `user:password` or an API key; empty without one."""
    given, file = os.environ.get(TOKEN, ""), os.environ.get(TOKEN_FILE, "")
    if not file:
        return given
    if given:
        raise UserError(f"{TOKEN} and {TOKEN_FILE} are both set; unset one of them.")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UserError(f"{TOKEN_FILE}={file} cannot be read: {error}.") from None
