"""What is wrong on the line of `shelfmark serve` is told, and nothing is left listening."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from exported import write_exported
from refusals import refusal


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_exported(tmp_path_factory.mktemp("command") / "exported")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "one of the two"),
        (["--model", "EXPORTED", "--RESUME_MODEL", "."], "there is no checkpoint"),
        (["--model", "EXPORTED", "train.device=cpu"], "train.device cannot be set for an exported model"),
        (["--model", "EXPORTED", "--port", "70000"], "--port 70000 is not a number"),
        (["--model", "EXPORTED", "--decoders", "0"], "--decoders 0 is not a number"),
        (["--model", "EXPORTED", "--host", "0.0.0.0"], "no --token-file says who may"),
        (["--model", "EXPORTED", "--host", "999.1.1.1", "--token-file", "TOKEN"], "cannot be listened on"),
        (["--model", "EXPORTED", "--token-file", "none"], "none is not a token file"),
        (["--model", "EXPORTED", "--index", "none"], "none is not an index"),
        (["--model", ".", "--port", "0"], "is not an exported model"),
    ],
)
def test_a_wrong_line_is_refused(exported, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("0123456789abcdef")
    places = {"EXPORTED": str(exported), "TOKEN": "token"}
    assert said in refusal(["serve", *(places.get(word, word) for word in words)], capsys)


def test_a_port_that_is_taken_is_told(exported, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "give another --port" in refusal(["serve", "--model", str(exported), "--port", port], capsys)


def test_a_package_that_is_missing_is_named_with_its_extra(exported, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "shelfmark.serving.http.server", None)
    assert "pip install -e '.[serve]'" in refusal(["serve", "--model", str(exported)], capsys)
