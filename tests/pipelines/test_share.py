"""`shelfmark push` and `pull`, against a hub on this machine and against a folder."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_stub import Hub, hub
from untrained_models import make_place

from shelfmark.cli import main
from shelfmark.core.manifests import file_facts, read_manifest, write_manifest
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint

TOKEN = "hf_verySecretTokenOfTheTest"
FILES = {"README.md", "manifest.json", "model.safetensors", "state.pt"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_place(tmp_path)
    # As of a training: with something to go on from.
    made = load_checkpoint(tmp_path / "log/run/last")
    facts = {name: value for name, value in made.manifest.items() if name not in ("files", "has_state")}
    save_checkpoint(tmp_path / "log/run/last", made.read_model(), {"optimizer": torch.ones(3)}, facts)
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub() as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield state


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main([*argv]) == 2
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err
    return printed.err


def test_a_checkpoint_goes_to_the_hub_and_comes_back_byte_for_byte(
    place: Path, served: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", "log/run/last", "me/shop", "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["place"] == f"{served.url}/me/shop"
    assert served.private == {"me/shop"}
    assert served.repositories["me/shop"].keys() == FILES
    assert served.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in printed.out + printed.err
    assert main(["pull", "me/shop", "--out", "models/mine"]) == 0
    pulled, mine = load_checkpoint(Path("models/mine")), load_checkpoint(Path("log/run/last"))
    assert {path.name for path in pulled.folder.iterdir()} == FILES
    assert pulled.weights_hash == mine.weights_hash == told["weights_sha256"]
    # The optimizer stays at home, unless it is asked for.
    assert (pulled.has_state, mine.has_state) == (False, True)
    [snippet] = re.findall(r"^model = .*$", (pulled.folder / "README.md").read_text(), flags=re.MULTILINE)
    assert snippet == 'model = shelfmark.load("shop")  # after: shelfmark pull me/shop --out shop'
    assert main(["test", "--RESUME_MODEL", "models/mine", "--images", "pictures/test", "--out", "a.csv"]) == 0


def test_a_folder_takes_the_training_state_too(place: Path) -> None:
    target = f"file://{place}/shared%20models/the%20shop"
    assert main(["push", "log/run/last", target, "--with-state"]) == 0
    assert main(["pull", target]) == 0
    assert (place / "the shop/state.pt").read_bytes() == (place / "log/run/last/state.pt").read_bytes()
    # A newer version takes the place of the older one; another folder is left alone.
    assert main(["push", "log/run/last", target]) == 0
    assert not load_checkpoint(place / "shared models/the shop").has_state
    (place / "mine").mkdir()
    (place / "mine/notes.txt").write_text("notes")
    assert main(["push", "log/run/last", f"file://{place}/mine"]) == 2
    assert [path.name for path in (place / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("damage", ["weights", "manifest", "state", "missing", "listed"])
def test_what_was_changed_on_the_way_is_refused_and_leaves_nothing(
    place: Path, served: Hub, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    assert main(["push", "log/run/last", "me/shop"]) == 0
    files = served.repositories["me/shop"]
    if damage == "weights":
        files["model.safetensors"] = files["model.safetensors"][:-1] + b"\x7f"
    elif damage == "manifest":
        files["manifest.json"] = files["manifest.json"].replace(b'"step": 0', b'"step": 9')
    elif damage == "missing":
        del files["state.pt"]
    else:
        make_evil(place, files, damage)
    said = refused(capsys, "pull", "me/shop", "--out", "models/mine")
    expected = {
        "weights": "does not match the SHA-256",
        "manifest": "changed by hand",
        "state": "state.pt cannot be read",
        "missing": "holds no checkpoint of Shelfmark",
        "listed": "that is no checkpoint of Shelfmark",
    }
    assert expected[damage] in said
    assert not (place / "models").exists()
    assert not (place / "executed").exists()


def make_evil(place: Path, files: dict[str, bytes], damage: str) -> None:
    """A repository whose manifest vouches for a pickle that runs code, or for a file of another kind."""
    # Not in the place itself, which would be the folder of a checkpoint.
    manifest = place / "altered.json"
    manifest.write_bytes(files["manifest.json"])
    facts = read_manifest(manifest)
    evil = place / "evil"
    with open(evil, "wb") as stream:
        pickle.dump(Evil(str(place / "executed")), stream)
    name = "state.pt" if damage == "state" else "tokenizer.pkl"
    files[name] = evil.read_bytes()
    facts["files"][name] = file_facts(evil)
    write_manifest(manifest, facts)
    files["manifest.json"] = manifest.read_bytes()


class Evil:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.target, "w")


def test_errors_teach_and_never_tell_the_token(
    place: Path, served: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no repository me/nothing at " in refused(capsys, "pull", "me/nothing")
    served.refuses = 403
    said = refused(capsys, "push", "log/run/last", "me/shop")
    assert "answered 403" in said
    assert "hf auth login" in said
    assert "is neither a repository, OWNER/NAME, nor a folder" in refused(capsys, "pull", "s3://x/y")
    assert "is neither a repository" in refused(capsys, "push", "log/run/last", "../etc")
    assert "names no folder" in refused(capsys, "pull", "file://host/x")
    assert "exists; nothing is fetched over it" in refused(capsys, "pull", "me/shop", "--out", "log")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1:9 cannot be reached" in refused(capsys, "pull", "me/shop")
    assert sorted(path.name for path in place.iterdir()) == [
        *("log", "more.json", "pictures", "retrieval.json", "spoilt.json", "train.json", "val.json")
    ]
