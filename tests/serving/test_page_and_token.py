"""A service with a token: the files of the page come without it, and what they ask for does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from exported import write_exported
from served import Served, served

from shelfmark.serving.access import Access
from shelfmark.serving.http import app
from shelfmark.serving.page_files import page_files
from shelfmark.serving.versions import Source

TOKEN = "0123456789abcdef0123"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " form-action 'none'; frame-ancestors 'none'; base-uri 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
FILES = {
    "index.html": "<p>a page",
    "page.js": "1",
    "why.js": "1",
    "page.css": "p{}",
    "icon.svg": "<svg/>",
    "__init__.py": "",
    "a.map": "",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("page")
    (place / "page").mkdir()
    for name, text in FILES.items():
        (place / "page" / name).write_text(text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(app, "page_files", lambda: page_files(place / "page"))
        with served(Source(model=write_exported(place / "exported"), decoders=1), Access(token=TOKEN)) as running:
            yield running


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/page.js", "page.js", "text/javascript; charset=utf-8"),
        ("/why.js", "why.js", "text/javascript; charset=utf-8"),
        ("/page.css", "page.css", "text/css; charset=utf-8"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
def test_the_files_of_the_page_have_the_strict_policy(service, path, name, kind):
    reply = service.get(path)
    assert (reply.status, reply.body.decode(), reply.headers["content-type"]) == (200, FILES[name], kind)
    assert reply.headers["content-security-policy"] == POLICY
    assert reply.headers["cache-control"] == "no-cache"


def test_all_else_needs_the_token(service):
    for path in ("/info", "/metrics", "/v2", "/product/0/picture/0", "/a.map", "/__init__.py"):
        refused = service.get(path)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        right = service.get(path, Authorization=f"Bearer {TOKEN}")
        assert right.status == (200 if path in ("/info", "/metrics", "/v2") else 404)
        assert service.get(path, Authorization=f"Bearer {TOKEN[::-1]}").status == 401
    assert service.get("/health/ready").status == 200
