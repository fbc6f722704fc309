"""The commands of an index whose vectors are in a milvus-lite file, and searches of some of its images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refusal
from untrained_models import make_place

from shelfmark.cli import main
from shelfmark.core.milvus_place import Place
from shelfmark.retrieval.index_files import read_index
from shelfmark.retrieval.stores.milvus_client import connected, disconnect

pytest.importorskip("pymilvus", reason="the extra milvus is not installed: pymilvus is absent")
pytest.importorskip("milvus_lite", reason="the extra milvus is not installed: milvus-lite is absent")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder of untrained models, whose training images have groups, roles, and fields of the user's own."""
    place = tmp_path_factory.mktemp("place")
    make_place(place)
    document = json.loads((place / "train.json").read_text())
    document["groups"] = ["drinks", "drinks", "food"]
    for row, record in enumerate(document["annotations"]):
        record |= {"role": "gallery" if row % 2 else "reference", "shelf": row, "shop": f"shop' or 1==1 {row % 3}"}
        record |= {"size": [1, 2]}
    (place / "grouped.json").write_text(json.dumps(document))
    return place


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def printed(argv: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> Any:
    capsys.readouterr()
    ended = main([*argv, "--json"])
    said = capsys.readouterr()
    assert ended == status, said.err
    return json.loads(said.out)


def test_the_commands_answer_alike_wherever_the_vectors_are(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    building = ["index", "build", "--RESUME_MODEL", "log/run/last", "--annotations", "grouped.json"]
    printed([*building, "--out", "index"], capsys)
    assert "no image can be searched for by size: --where takes whole numbers and text" in caplog.text
    again = [*building, "--embeddings", "index_features", "--out", "in_milvus", "--store", "milvus://shop.db"]
    assert printed(again, capsys)["num_images"] == 13
    assert "its vectors to milvus://" in caplog.text
    facts = printed(["index", "info", "--index", "in_milvus"], capsys)
    assert facts["columns"] == ["category_id", "group", "role", "shelf", "shop"]
    assert (facts["store"], facts["num_in_store"]) == (f"milvus://{place}/shop.db", 13)
    assert not (place / "in_milvus" / "index.faiss").exists()

    photos = ["pictures/val_1.png", "pictures/val_2.png"]
    asked = ["group=drinks", "shelf<9", "shop=shop' or 1==1 0", "shop=shop' or 1==1 2"]
    conditions = [word for condition in asked for word in ("--where", condition)]
    for command in (
        ["search", *photos],
        ["search", *photos, "--k", "3", *conditions],
        ["search", *photos, "--where", "role=reference"],
        ["recognise", *photos, "--k", "4", "--where", "role!=reference", "--weight", "1"],
    ):
        first, second = (printed([*command, "--index", index], capsys) for index in ("index", "in_milvus"))
        assert first == second
    some = printed(["search", *photos, "--index", "in_milvus", *conditions], capsys)
    assert {one["id"] for one in some[0]["neighbours"]} == {f"train_{row}.png" for row in range(9) if row % 3 == 0}
    assert "4 images that fit --where, fewer than --k 10" not in caplog.text
    assert "3 images that fit --where, fewer than --k 10" in caplog.text

    for index in ("index", "in_milvus"):
        printed(["index", "add", "--index", index, "--images", "pictures/test", "--label", "2"], capsys)
        printed(["index", "remove", "--index", index, "--labels", "0"], capsys)
    first, second = (printed(["search", *photos, "--index", index], capsys) for index in ("index", "in_milvus"))
    assert first == second
    # What is added to a known class is of its group.
    food = printed(["search", photos[0], "--index", "in_milvus", "--where", "group=food", "--k", "20"], capsys)
    assert {one["id"] for one in food[0]["neighbours"]} >= {f"test/{row}.png" for row in range(5)}
    printed(["index", "export", "--index", "in_milvus", "--out", "exported"], capsys)
    assert printed(["index", "verify", "in_milvus"], capsys)["ids"] == {"missing": 0, "unknown": 0, "examples": []}
    assert printed(["index", "compact", "in_milvus"], capsys)["is_changed"] is False


def test_a_store_that_lost_and_kept_what_it_should_not_is_told_and_repaired(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    building = ["index", "build", "--RESUME_MODEL", "log/run/last", "--annotations", "grouped.json"]
    printed([*building, "--out", "broken", "--store", "milvus://first.db"], capsys)
    disconnect()
    (place / "first.db").rename(place / "moved.db")
    assert "first.db does not exist: it has the vectors of the index." in refusal(
        ["index", "info", "--index", "broken"], capsys
    )
    moved = ["broken", "--store", "milvus://moved.db"]
    assert printed(["index", "verify", *moved], capsys)["holds"]
    store = read_index(place / "broken", Place.of("milvus://moved.db")).store
    store.erase(store.ids[2:3])
    connected(store.place).insert(store.collection, [{"id": 99, "vector": np.ones(store.dim, np.float32)}])

    found = printed(["index", "verify", *moved], capsys, status=3)
    assert found["ids"] == {"missing": 1, "unknown": 1, "examples": ["train_2.png"]}
    assert found["advice"][0]["command"] == (
        f"shelfmark index verify broken --repair --store milvus://{place}/moved.db"
    )
    assert printed(["index", "verify", *moved, "--repair"], capsys)["holds"]
    assert (place / "broken_lost.csv").read_text() == f"id,label,path\ntrain_2.png,2,{place}/pictures/train_2.png\n"
    # The new place is noted now.
    facts = printed(["index", "info", "--index", "broken"], capsys)
    assert (facts["num_images"], facts["num_in_store"], facts["hints"]) == (12, 12, [])


def test_what_does_not_fit_is_refused_before_any_image_is_read(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    building = ["index", "build", "--RESUME_MODEL", "log/run/last", "--annotations", "grouped.json", "--out", "new"]
    pq = refusal([*building, "--store", "milvus://other.db", "--kind", "ivf_pq"], capsys)
    assert "--kind ivf_pq: a Milvus store is flat or hnsw" in pq
    assert "names neither a file *.db nor a server" in refusal([*building, "--store", "milvus://"], capsys)
    assert "127.0.0.1:1 cannot be reached" in refusal([*building, "--store", "milvus://127.0.0.1:1"], capsys)
    assert not list(place.glob("new*"))
