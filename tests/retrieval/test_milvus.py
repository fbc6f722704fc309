"""Vectors in a milvus-lite file: what a search finds, what came back, what a crash leaves, and who may open it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from forks import fork

from shelfmark.core.errors import UserError
from shelfmark.core.milvus_place import Place
from shelfmark.core.strings import Strings
from shelfmark.retrieval import faiss_module
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import read_index, write_index
from shelfmark.retrieval.stores import milvus, milvus_client
from shelfmark.retrieval.stores.milvus_client import connected, disconnect

pytest.importorskip("pymilvus", reason="the extra milvus is not installed: pymilvus is absent")
pytest.importorskip("milvus_lite", reason="the extra milvus is not installed: milvus-lite is absent")

DIM = 8


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A file for all tests that only need some file: one takes half a second of CPU time to open."""
    yield Place.of(f"milvus://{tmp_path_factory.mktemp('milvus')}/shop.db")
    disconnect()


def vectors(num: int, seed: int = 0) -> np.ndarray:
    """Rows of which a third are copies of the first."""
    rows = np.random.default_rng(seed).normal(size=(num, DIM)).astype(np.float32)
    rows[1::3] = rows[0]
    return rows


def records(num: int, first: int = 0) -> Records:
    names = [f"id{number}" for number in range(first, first + num)]
    return Records(Strings.of(names), np.arange(first, first + num) % 5, Strings.of(names))


def built(place: Place, num: int = 60, **more: Any) -> Index:
    return Index.build(vectors(num), records(num), kind="flat", place=place, **more)


@pytest.fixture
def stored(shared: Place, tmp_path: Path) -> Path:
    """The folder of an index of sixty images."""
    write_index(tmp_path / "index", built(shared))
    return tmp_path / "index"


def assert_alike(one: Index, other: Index, query: np.ndarray, k: int, among: np.ndarray | None = None) -> None:
    for found, wanted in zip(one.search(query, k, among), other.search(query, k, among)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_whatever_came_and_went_the_answers_are_those_of_a_flat_index_of_faiss(
    metric: str, shared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small that a selection is asked for in several parts, or by what it leaves out.
    monkeypatch.setattr(milvus, "_BLOCK_IDS", 30)
    ours, wanted = built(shared, metric=metric), Index.build(vectors(60), records(60), kind="flat", metric=metric)
    draw = np.random.default_rng(0)
    for step in range(3):
        gone = draw.choice(len(ours), 12, replace=False)
        more, first = vectors(17, seed=step), 100 * (step + 1)
        for index in (ours, wanted):
            index.remove(gone)
            index.add(more, records(17, first))
        write_index(tmp_path / "index", ours)
        ours = read_index(tmp_path / "index")
        assert list(ours.records.ids) == list(wanted.records.ids)
        np.testing.assert_array_equal(ours.vectors(), wanted.vectors())
        query = np.concatenate([vectors(1), draw.normal(size=(4, DIM)).astype(np.float32)])
        few, most = (np.sort(draw.choice(len(ours), number, replace=False)) for number in (9, len(ours) - 5))
        for among in (None, few, most, most[::2]):
            # The first query has more equal neighbours than any k but the last.
            for k in (1, 12, 200):
                assert_alike(ours, wanted, query, k, among)
    assert np.array_equal(ours.store.held_ids(), ours.store.ids)
    assert ours.store.hints() == []


def test_a_graph_in_milvus_finds_nearly_all_and_scores_them_exactly(shared: Place) -> None:
    given = np.random.default_rng(1).normal(size=(300, DIM)).astype(np.float32)
    graph = Index.build(given, records(300), kind="hnsw", place=shared)
    flat = Index.build(given, records(300), kind="flat")
    found, wanted = (index.search(given[:20] + 0.1, 10) for index in (graph, flat))
    assert np.mean([len({*one} & {*other}) for one, other in zip(found.ids.tolist(), wanted.ids.tolist())]) > 9
    np.testing.assert_array_equal(found.scores[:, 0], wanted.scores[:, 0])


def test_removed_vectors_that_come_back_are_in_no_answer_and_the_next_addition_deletes_them(stored: Path) -> None:
    index = read_index(stored)
    query, copies = vectors(1), np.flatnonzero(np.arange(60) % 3 == 1)
    index.remove(copies)
    write_index(stored, index)
    # More than any spare candidates, and nearer than all others.
    back = [{"id": int(one), "vector": query[0]} for one in copies]
    connected(index.store.place).insert(index.store.collection, back)
    index = read_index(stored)
    wanted = Index.build(np.delete(vectors(60), copies, axis=0), records(40), kind="flat")
    assert_alike(index, wanted, query, 5)
    assert np.setdiff1d(index.store.held_ids(), index.store.ids).tolist() == copies.tolist()
    assert "has 20 vectors that the index does not have" in index.store.hints()[0]
    index.add(vectors(2, seed=9), records(2, 100))
    write_index(stored, index)
    index = read_index(stored)
    assert np.array_equal(index.store.held_ids(), index.store.ids)


def test_an_addition_that_was_stopped_before_its_table_was_written_leaves_the_index_as_it_was(stored: Path) -> None:
    stopped = read_index(stored)
    stopped.add(vectors(20, seed=5), records(20, 100))
    before = read_index(stored)
    assert (len(before), before.store.num_stored()) == (60, 80)
    wanted = Index.build(vectors(60), records(60), kind="flat")
    assert_alike(before, wanted, vectors(20, seed=5), 7)
    before.add(vectors(3, seed=6), records(3, 100))
    write_index(stored, before)
    again = read_index(stored)
    # Ids are not given twice, and of what another copy of the folder may have added nothing is deleted.
    assert again.store.ids[-3:].tolist() == [80, 81, 82]
    assert (len(again), again.store.num_stored()) == (63, 83)
    wanted.add(vectors(3, seed=6), records(3, 100))
    assert_alike(again, wanted, vectors(20, seed=5), 7)


def test_a_removal_that_was_stopped_before_its_table_was_written_has_lost_nothing(stored: Path) -> None:
    read_index(stored).remove(np.arange(30))
    index = read_index(stored)
    assert (len(index), index.store.num_stored()) == (60, 60)


def test_a_removal_whose_vectors_could_not_be_deleted_holds_all_the_same(
    stored: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("the server is gone.")

    index = read_index(stored)
    index.remove(np.arange(30))
    monkeypatch.setattr(milvus.MilvusStore, "erase", refuse)
    write_index(stored, index)
    assert "the server is gone. The index is changed; removed vectors are still in the store" in caplog.text
    index = read_index(stored)
    assert (len(index), index.store.num_stored()) == (30, 60)
    assert set(index.search(vectors(60), 30).ids.ravel()) == set(range(30))


def test_vectors_that_are_lost_are_told_when_the_index_is_opened(
    stored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = read_index(stored).store
    store.erase(np.array([3, 4]))
    index = read_index(stored)
    assert "lacks 2 of the index's 60 vectors" in caplog.text
    assert np.setdiff1d(index.store.ids, index.store.held_ids()).tolist() == [3, 4]
    assert not {3, 4} & set(index.search(vectors(60), 60).ids.ravel().tolist())
    assert sum(len(ids) for ids, _ in index.store.blocks()) == 58
    with pytest.raises(UserError, match="lacks 2 vectors of the index"):
        index.vectors()


def test_the_store_of_another_index_is_refused(stored: Path, tmp_path: Path, shared: Place) -> None:
    other = Place.of(f"milvus://{tmp_path}/other.db")
    built(other, 3)
    with pytest.raises(UserError, match="has no collection shelfmark_.*the store of another index"):
        read_index(stored, other)
    with pytest.raises(UserError, match=r"gone\.db does not exist: .* with --store"):
        read_index(stored, Place.of(f"milvus://{tmp_path}/gone.db"))
    write_index(tmp_path / "faiss", Index.build(vectors(9), records(9), kind="flat"))
    with pytest.raises(UserError, match=r"are not in a database, they lie in .*index\.faiss"):
        read_index(tmp_path / "faiss", shared)


def test_a_build_that_fails_leaves_no_collection(shared: Place) -> None:
    broken = vectors(9)
    broken[8, 0] = np.nan
    before = connected(shared).list_collections()
    with pytest.raises(UserError, match="NaN"):
        Index.build(broken, records(9), kind="flat", place=shared)
    assert connected(shared).list_collections() == before


def test_a_second_process_is_told_that_the_file_is_in_use(stored: Path, shared: Place) -> None:
    read_end, write_end = os.pipe()
    connected(shared)
    child = fork()
    if child == 0:
        try:
            connected(shared)
        except UserError as error:
            os.write(write_end, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    told = os.read(read_end, 4096).decode()
    os.close(read_end)
    assert "shop.db is in use by another process" in told
    assert "--store milvus://HOST:PORT" in told
    # The first process goes on.
    assert len(read_index(stored)) == 60


def test_what_was_closed_is_opened_again_with_all_that_was_in_it(stored: Path) -> None:
    index = read_index(stored)
    before = index.search(vectors(5), 7)
    disconnect()
    for found, wanted in zip(read_index(stored).search(vectors(5), 7), before):
        np.testing.assert_array_equal(found, wanted)


def test_an_index_that_moved_from_a_file_to_a_server_is_searched_and_changed_there(stored: Path) -> None:
    """The server of milvus-lite speaks the protocol of Milvus on a port."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    index = read_index(stored)
    wanted = index.search(vectors(5), 7)
    file = index.store.place.file
    disconnect()
    server, database, port = start_server_in_thread(str(file))
    try:
        moved = read_index(stored, Place.of(f"milvus://127.0.0.1:{port}"))
        for found, right in zip(moved.search(vectors(5), 7), wanted):
            np.testing.assert_array_equal(found, right)
        moved.remove(np.arange(50))
        write_index(stored, moved)
        again = read_index(stored)
        assert (len(again), again.store.num_stored()) == (10, 10)
        assert again.store.facts()["store"] == f"milvus://127.0.0.1:{port}"
        disconnect()
    finally:
        server.stop(grace=1).wait()
        database.close()
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} cannot be reached: .*SHELFMARK_MILVUS_TOKEN"):
        read_index(stored)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("milvus://shop.db", None),
        ("milvus://localhost", "milvus://localhost:19530"),
        ("milvus://10.0.0.7:9/shop", "milvus://10.0.0.7:9/shop"),
        ("milvus+tls://[::1]:443", "milvus+tls://[::1]:443"),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, told: str | None) -> None:
    place = Place.of(text)
    assert str(place) == (told or f"milvus://{Path.cwd()}/shop.db")
    assert Place.of(str(place)) == place


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shop.db", "is not the address of a Milvus"),
        ("milvus://", "neither a file"),
        ("milvus://host:99999", "neither a file"),
        ("milvus+tls://shop.db/../x y", "neither a file"),
        ("milvus://root:secret@host", "password in it.*SHELFMARK_MILVUS_TOKEN"),
    ],
)
def test_what_is_no_address_is_refused_and_a_password_is_not_repeated(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as raised:
        Place.of(text)
    assert "secret" not in str(raised.value)


def test_the_token_comes_from_the_environment_or_a_file_and_not_from_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[dict[str, Any]] = []
    module = SimpleNamespace(MilvusClient=lambda **given: asked.append(given) or SimpleNamespace(close=lambda: None))
    module.MilvusException = KeyError
    monkeypatch.setattr(milvus_client, "pymilvus_for", lambda _: module)
    (tmp_path / "token").write_text("root:from a file\n")
    monkeypatch.setenv("SHELFMARK_MILVUS_TOKEN", "from the environment")
    connected(Place.of("milvus+tls://host-a/shop"))
    assert not caplog.text
    connected(Place.of("milvus://host-b"))
    assert "unencrypted" in caplog.text
    monkeypatch.setenv("SHELFMARK_MILVUS_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(UserError, match="are both set"):
        connected(Place.of("milvus://host-c"))
    monkeypatch.delenv("SHELFMARK_MILVUS_TOKEN")
    connected(Place.of("milvus://host-c"))
    assert [one["token"] for one in asked] == ["from the environment", "from the environment", "root:from a file"]
    assert (asked[0]["uri"], asked[0]["db_name"], asked[0]["secure"]) == ("https://host-a:19530", "shop", True)
    assert (asked[1]["uri"], asked[1]["secure"]) == ("http://host-b:19530", False)


def test_what_is_missing_or_cannot_stand_together_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_new() -> str:
        with pytest.raises(UserError) as raised:
            connected(Place.of(f"milvus://{tmp_path}/new.db"))
        return str(raised.value)

    with monkeypatch.context() as patch:
        patch.setattr(faiss_module, "two_packages_installed", lambda: "faiss-cpu 1 and faiss-gpu 2 are installed.")
        assert "cannot stand beside faiss-gpu. faiss-cpu 1 and faiss-gpu 2 are installed." in open_new()
    for package in ("pymilvus", "milvus_lite"):
        with monkeypatch.context() as patch:
            patch.setattr(milvus_client.importlib.util, "find_spec", lambda name, gone=package: name != gone or None)
            assert "pip install -e '.[milvus]'" in open_new()
    (tmp_path / "new.db").write_text("of milvus-lite 2")
    assert "is a file; milvus-lite from version 3 on keeps a folder" in open_new()
    with pytest.raises(UserError, match="--kind ivf_pq: a Milvus store is flat or hnsw"):
        milvus.require_milvus(Place.of(f"milvus://{tmp_path}/x.db"), "ivf_pq")
