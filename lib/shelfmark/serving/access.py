"""Who may ask: the names of this service, its token, and pages of other sites, which may not."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shelfmark.core.errors import UserError
from shelfmark.serving.refusals import Refused

_FEWEST_CHARS, _MOST_CHARS = 16, 4096
_WORD = re.compile(r"[!-~]+")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
OPEN_PATHS = frozenset(
    [
        *("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"),
        *("/", "/page.js", "/why.js", "/page.css", "/icon.svg", "/favicon.ico"),
    ]
)
"""Asked without a token: what an orchestrator looks at, and the page, which then asks for the token."""


@dataclass(frozen=True)
class Access:
    """hosts: the names, in small letters, that the Host header may have besides localhost and addresses in numbers.

    Another site can give its own name this machine's address, and so make a browser ask here in its name; but then
    Host has that name. token: None where everybody who reaches the service may ask.
    """

    hosts: frozenset[str] = frozenset()
    token: str | None = None

    @classmethod
    def of(cls, host: str, hosts: Sequence[str], token_file: Path | None) -> Access:
        """host: what is listened on. UserError: it can be reached from elsewhere, and there is no token."""
        token = None if token_file is None else read_token(token_file)
        for name in hosts:
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"--allow-host {name} is no name. Give the name alone, as shop.example, without scheme, port and"
                    " wildcard; a name in other letters as browsers send it, which begins with xn--."
                )
        if token is None and not is_loopback(host):
            raise UserError(
                f"--host {host} lets other machines ask, and no --token-file says who may. Put a secret of at least"
                f" {_FEWEST_CHARS} characters into a file and name it, or leave --host out: 127.0.0.1 is this machine"
                " alone."
            )
        names = {one.lower() for one in (host, *hosts)}
        return cls(frozenset(names), token)

    def check(self, path: str, method: str, headers: Mapping[str, str]) -> None:
        """Raises `Refused`. headers: by their names in small letters."""
        if not self._is_own(_name_of(headers.get("host", ""))):
            raise Refused(421, "wrong_host", "The service does not go by this name; --allow-host adds one.")
        if self.token is not None and path not in OPEN_PATHS and not self._has_token(headers.get("authorization", "")):
            raise Refused(401, "no_token", "Send the service's token: Authorization: Bearer TOKEN.")
        if _is_of_another_site(path, method, headers):
            raise Refused(403, "other_site", "Pages of other sites may not ask this service.")

    def _is_own(self, name: str) -> bool:
        return name == "localhost" or name in self.hosts or _is_address(name)

    def _has_token(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        # Of equal length and compared in constant time, so that no answer is faster for a better guess.
        same = hmac.compare_digest(_digest(given.strip()), _digest(self.token or ""))
        return scheme.lower() == "bearer" and same


def read_token(file: Path) -> str:
    """The token in a file, without blanks around it. UserError: the file cannot be read, or the token is too short."""
    try:
        token = file.read_bytes()[: _MOST_CHARS + 2].decode("ascii").strip()
    except OSError as error:
        raise UserError(f"--token-file {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"--token-file {file} holds something else than ASCII characters.") from None
    if not _FEWEST_CHARS <= len(token) <= _MOST_CHARS or not _WORD.fullmatch(token):
        raise UserError(
            f"--token-file {file} holds no token: one word of {_FEWEST_CHARS} to {_MOST_CHARS} printable characters."
            f" Make one with `openssl rand -hex 32 > {file}`."
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what is listened on there."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _name_of(host: str) -> str:
    """The name in a Host header, without the port and without the brackets of an address."""
    if host.startswith("[") and "]" in host:
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_of_another_site(path: str, method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site asks. A link to the page itself is welcome."""
    if path == "/" and method == "GET" and headers.get("sec-fetch-mode", "navigate") == "navigate":
        return False
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and _place_of(origin) != headers.get("host", "").lower()


def _place_of(origin: str) -> str | None:
    """Name and port of an Origin header; None where it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
