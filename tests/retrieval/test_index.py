from __future__ import annotations

import csv
import importlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import flipped_bits
from forks import fork

from shelfmark.core import folders, parquet
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_file
from shelfmark.core.manifests import write_manifest
from shelfmark.core.strings import Strings
from shelfmark.retrieval import index_files, search
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_export import export_vectors
from shelfmark.retrieval.index_files import read_index, read_manifest, write_index
from shelfmark.retrieval.index_kinds import KINDS, choose_kind, parameters_for

NUM_VECTORS, DIM = 1200, 16
FACTS = {"checkpoint_sha256": "0" * 64}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads link the nodes of hnsw in an order of their own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def vectors(num: int = NUM_VECTORS, seed: int = 0) -> np.ndarray:
    """Rows about sixty centres, of uneven length."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(60, DIM))
    rows = centres[generator.integers(60, size=num)] + 0.3 * generator.normal(size=(num, DIM))
    return (rows * generator.uniform(0.5, 2, size=(num, 1))).astype(np.float32)


def records(num: int = NUM_VECTORS, first: int = 0) -> Records:
    numbers = range(first, first + num)
    labels = np.array([number % 7 - 1 for number in numbers], dtype=np.int64)
    ids, paths = Strings.of(f"id{number}" for number in numbers), Strings.of(f"ü/{number}.jpg" for number in numbers)
    return Records(ids, labels, paths, {0: "tea", 5: "rice"})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of each kind, of the same vectors, and `small`, a flat one of 50."""
    folder = tmp_path_factory.mktemp("stored")
    for kind in KINDS:
        write_index(folder / kind, Index.build(vectors(), records(), kind=kind, facts=FACTS))
    write_index(folder / "small", Index.build(vectors(50), records(50), kind="flat", facts=FACTS))
    return folder


@pytest.fixture
def small(stored: Path, tmp_path: Path) -> Path:
    """A copy of `small`, to be changed."""
    return shutil.copytree(stored / "small", tmp_path / "index")


def nearest_ids(index: Index, query: np.ndarray, k: int = 5) -> list[list[str]]:
    return [[index.records.ids[row] for row in rows if row >= 0] for rows in index.search(query, k).ids]


def assert_same_answers(one: Index, other: Index, k: int = 7) -> None:
    for found, wanted in zip(one.search(vectors(20, seed=1), k), other.search(vectors(20, seed=1), k)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_flat_gives_the_neighbours_and_scores_of_a_search_without_an_index(metric: str) -> None:
    gallery, query = vectors(), vectors(9, seed=1)
    gallery[700] = gallery[3]
    query[0] = gallery[3]
    index = Index.build(gallery, records(), kind="flat", metric=metric)
    expected = search(query, gallery, 8, metric=metric)
    scores, rows = index.search(query, 8)
    np.testing.assert_array_equal(rows, expected.ids)
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-5, atol=1e-5)
    if metric != "dot":
        assert rows[0, :2].tolist() == [3, 700]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("kind", "least_recall"), [("hnsw", 0.99), ("ivf_flat", 0.9), ("ivf_pq", 0.4)])
def test_the_other_kinds_find_most_of_the_neighbours_and_nearly_their_scores(
    kind: str, metric: str, least_recall: float, stored: Path
) -> None:
    gallery, query = vectors(), vectors(50, seed=1)
    expected = search(query, gallery, 10, metric=metric).ids
    is_stored = metric == "cosine"
    index = read_index(stored / kind) if is_stored else Index.build(gallery, records(), kind=kind, metric=metric)
    scores, rows = index.search(query, 10)
    hits = [len(set(found) & set(right)) for found, right in zip(rows.tolist(), expected.tolist())]
    assert sum(hits) / expected.size >= least_recall
    assert (np.diff(scores, axis=1) <= 0).all()
    if kind != "ivf_pq":
        left, right = query[0].astype(np.float64), gallery[rows[0, 0]].astype(np.float64)
        cosine = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
        wanted = cosine if metric == "cosine" else -np.linalg.norm(left - right)
        assert scores[0, 0] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_built_again_and_read_back_the_same_and_goes_on_growing(
    kind: str, stored: Path, tmp_path: Path
) -> None:
    index, again = Index.build(vectors(), records(), kind=kind, facts=FACTS), read_index(stored / kind)
    write_index(tmp_path / "index", index)
    # With the hashes of both files.
    assert read_manifest(tmp_path / "index") == read_manifest(stored / kind)
    assert_same_answers(again, index)
    assert (again.layout, again.facts) == (index.layout, FACTS)
    assert (again.layout.kind, again.layout.metric) == (kind, "cosine")
    assert (again.records.names, again.records.paths[5]) == ({0: "tea", 5: "rice"}, "ü/5.jpg")
    for one in (index, again):
        one.add(vectors(30, seed=2), records(30, first=NUM_VECTORS))
    assert_same_answers(again, index)


def test_the_seed_draws_the_sample_that_centres_are_learned_from() -> None:
    indexes = [Index.build(vectors(), records(), kind="ivf_flat", seed=seed) for seed in (0, 1)]
    quantizers = [index.store.structure.quantizer for index in indexes]
    assert not np.array_equal(*(one.reconstruct_n(0, one.ntotal) for one in quantizers))


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf_flat"])
def test_whatever_came_and_went_the_neighbours_are_those_among_what_is_left(kind: str, tmp_path: Path) -> None:
    # Each kind looks at everything: all lists of ivf_flat, more candidates than hnsw has vectors.
    parameters = {"hnsw": {"ef_search": 500}, "ivf_flat": {"num_probes": 2}}.get(kind)
    given, query = vectors(400, seed=4), vectors(20, seed=1)
    unit = given / np.linalg.norm(given, axis=1, keepdims=True)
    index, left = Index.build(given[:100], records(100), kind=kind, parameters=parameters), np.arange(100)
    for first in (100, 200, 300):
        # The last one among them, whose id a store may give again.
        gone = np.append(np.random.default_rng(first).choice(len(left) - 1, 40, replace=False), len(left) - 1)
        index.remove(gone)
        index.add(given[first : first + 100], records(100, first=first))
        left = np.append(np.delete(left, gone), np.arange(first, first + 100))
        write_index(tmp_path / "index", index)
        index = read_index(tmp_path / "index")
        expected = search(query, given[left], 7, metric="cosine")
        scores, rows = index.search(query, 7)
        np.testing.assert_array_equal(rows, expected.ids)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(index.vectors(), unit[left], atol=1e-6)
        assert list(index.records.ids) == [f"id{number}" for number in left]
        assert list(index.records.paths) == [f"ü/{number}.jpg" for number in left]
        assert index.records.labels.tolist() == [number % 7 - 1 for number in left]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_removed_is_not_found_and_can_be_added_again(kind: str, stored: Path) -> None:
    index, query = read_index(stored / kind), vectors()[:40]
    assert sum(f"id{row}" in ids for row, ids in enumerate(nearest_ids(index, query))) >= 35
    index.remove(np.arange(NUM_VECTORS) < 20)
    assert (len(index), len(index.vectors())) == (NUM_VECTORS - 20, NUM_VECTORS - 20)
    found = nearest_ids(index, query)
    assert not {f"id{row}" for row in range(20)} & {name for ids in found for name in ids}
    assert sum(f"id{row}" in found[row] for row in range(20, 40)) >= 16
    index.add(vectors()[:20], records(20))
    assert sum(f"id{row}" in ids for row, ids in enumerate(nearest_ids(index, query))) >= 35
    assert index.records.ids[len(index) - 1] == "id19"


def test_an_index_works_beside_what_puts_other_methods_into_faiss(stored: Path, tmp_path: Path) -> None:
    before = {kind: nearest_ids(read_index(stored / kind), vectors()[:40]) for kind in KINDS}
    # It stays for the rest of the process, as where pytorch-metric-learning is imported.
    importlib.import_module("faiss.contrib.torch_utils")
    for kind, expected in before.items():
        index = read_index(stored / kind)
        assert nearest_ids(index, vectors()[:40]) == expected
        index.remove(np.arange(20))
        index.add(vectors()[:20], records(20))
        write_index(tmp_path / kind, index)
        assert_same_answers(read_index(tmp_path / kind), index)
        assert nearest_ids(Index.build(vectors(), records(), kind=kind), vectors()[:1])[0][0] == "id0"


def test_compressed_vectors_come_back_nearly_as_they_were(stored: Path) -> None:
    unit = vectors() / np.linalg.norm(vectors(), axis=1, keepdims=True)
    index = read_index(stored / "ivf_pq")
    index.remove(np.arange(10))
    difference = np.linalg.norm(index.vectors() - unit[10:], axis=1)
    assert difference.max() < 0.9
    assert difference.mean() < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_where_fewer_are_left_than_asked_for_the_rest_is_marked(kind: str, stored: Path) -> None:
    index = read_index(stored / kind)
    index.remove(np.arange(3, NUM_VECTORS))
    scores, rows = index.search(vectors()[:1], 5)
    assert set(rows[0].tolist()) <= {0, 1, 2, -1}
    assert rows[0, -2:].tolist() == [-1, -1]
    assert np.isneginf(scores[0, -2:]).all()
    index.remove(np.arange(3))
    assert index.search(vectors()[:1], 2).ids.tolist() == [[-1, -1]]
    assert index.vectors().shape == (0, DIM)


def test_hints_come_with_many_removed_nodes_and_with_lists_outgrown(stored: Path) -> None:
    graph = read_index(stored / "hnsw")
    graph.remove(np.arange(240))
    assert graph.store.hints() == []
    graph.remove(np.arange(1))
    assert "241 of 1,200 vectors are removed" in graph.store.hints()[0]
    lists = Index.build(vectors(100), records(100), kind="ivf_flat")
    lists.add(vectors(300, seed=1), records(300, first=100))
    assert lists.store.hints() == []
    lists.add(vectors(1, seed=2), records(1, first=400))
    assert "laid out for 100 vectors and hold 401" in lists.store.hints()[0]


def test_an_addition_that_is_refused_leaves_the_index_as_it_was() -> None:
    index = Index.build(vectors(50), records(50), kind="flat")
    broken = vectors(2)
    broken[1, 0] = np.nan
    wrong_name = Records(Strings.of(["x"]), np.array([0]), Strings.of(["x"]), {0: "coffee"})
    for added, said, text in [
        (vectors(1), records(1, first=49), "'id49' is there already"),
        (vectors(2), Records(Strings.of("xx"), np.zeros(2, int), Strings.of("ab")), "'x' is there already"),
        (vectors(1), wrong_name, "1 class .*'coffee' has the number 0 there, which is 'tea' in the"),
        (
            vectors(1),
            replace(wrong_name, names={0: "rice"}),
            r"'rice' has the number 0 .* \('rice' is 5\)\. Number both",
        ),
        (broken, records(2, first=50), "NaN"),
        (vectors(1)[:, :5], records(1, first=50), "holds vectors of 16 dimensions"),
        (vectors(3), records(2, first=50), "3 vectors, 2 ids"),
    ]:
        with pytest.raises(UserError, match=text):
            index.add(added, said)
        assert (len(index), index.store.structure.ntotal) == (50, 50)


def test_the_kind_follows_from_the_size_and_the_reason_names_it() -> None:
    sizes = {10_000: "flat", 1_000_000: "hnsw", 10_000_000: "ivf_flat", 100_000_000: "ivf_pq"}
    for num_vectors, kind in sizes.items():
        chosen, reason = choose_kind(num_vectors, 128)
        assert chosen == kind
        assert f"{num_vectors:,} vectors of 128 dimensions" in reason
    assert Index.build(vectors(40), records(40)).layout.kind == "flat"


def test_parameters_follow_from_the_size_and_can_be_given() -> None:
    assert parameters_for("ivf_pq", 1_000_000, 128) == {"num_lists": 4096, "num_probes": 64, "num_bytes": 64}
    assert parameters_for("ivf_flat", 100, 128) == {"num_lists": 2, "num_probes": 2}
    assert parameters_for("hnsw", 100, 128, {"ef_search": 7})["ef_search"] == 7
    with pytest.raises(UserError, match="'efsearch' is not one of: .*ef_search"):
        parameters_for("hnsw", 100, 128, {"efsearch": 7})
    with pytest.raises(UserError, match="needs as many vectors; there are 100"):
        parameters_for("ivf_pq", 100, 128)
    with pytest.raises(UserError, match="127 dimensions cannot be cut"):
        parameters_for("ivf_pq", 1000, 127)


@pytest.mark.parametrize("name", ["index.faiss", "rows.npz"])
def test_a_damaged_file_is_named(name: str, small: Path) -> None:
    data = bytearray((small / name).read_bytes())
    data[len(data) // 2] ^= 1
    (small / name).write_bytes(data)
    with pytest.raises(UserError, match=f"{name} does not match the SHA-256"):
        read_index(small)
    (small / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        read_index(small)


def test_what_is_no_index_is_told_so(small: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format_version": 1, "num_rows": 3, "dim": 2}')
    with pytest.raises(UserError, match="is of something else"):
        read_index(tmp_path)
    file = small / "manifest.json"
    whole = json.loads(file.read_text())
    write_manifest(file, {**whole, "num_vectors": 51})
    with pytest.raises(UserError, match="50 rows of 16 dimensions, but its manifest says 51 of 16"):
        read_index(small)
    write_manifest(file, {**whole, "format_version": 99})
    with pytest.raises(UserError, match="index format 99; this Shelfmark reads 1 and 2"):
        read_index(small)
    # Nor is it sought under another name.
    small.rename(tmp_path / "index.old")
    with pytest.raises(UserError, match=r"index is not an index: it does not exist.*index\.old may be .* rename it"):
        read_index(small)


def as_version_1(folder: Path) -> None:
    """Gives the folder the manifest that version 0.1.0 wrote for it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["digest"]
    files = {name: sha256_file(folder / name) for name in manifest["files"]}
    facts = {"checkpoint": "best_model", **manifest["facts"], "input": {}}
    changed = {**manifest, "format_version": 1, "files": files, "facts": facts}
    (folder / "manifest.json").write_text(json.dumps(changed, indent=2))


def test_an_index_of_version_0_1_0_opens_and_grows(small: Path) -> None:
    written = read_index(small)
    as_version_1(small)
    read = read_index(small)
    np.testing.assert_array_equal(read.vectors(), written.vectors())
    assert list(read.records.ids) == list(written.records.ids)
    read.remove(np.arange(25))
    write_index(small, read)
    assert len(read_index(small)) == 25
    assert read_manifest(small)["format_version"] == 2


def test_no_value_in_a_manifest_without_digest_is_believed(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).parents[1] / "version_0_1_0" / "index", tmp_path / "index")
    whole = json.loads((folder / "manifest.json").read_text())
    facts = ("checkpoint", "checkpoint_sha256", "input")
    places = [(whole, name) for name in whole] + [(whole["facts"], name) for name in facts]
    found: list[str] = []
    for holder, name in places:
        right = holder[name]
        for wrong in (None, -1, 1e300, True, "x", [], ["x"], {"x": None}):
            # Any text may be a path, a hash or a metric, and any mapping an input.
            if isinstance(wrong, str | dict) and type(wrong) is type(right) and name in ("metric", *facts):
                continue
            holder[name] = wrong
            (folder / "manifest.json").write_text(json.dumps(whole))
            with pytest.raises(UserError, match="Build it again") as raised:
                read_index(folder)
            found.append(str(raised.value))
        del holder[name]
        (folder / "manifest.json").write_text(json.dumps(whole))
        with pytest.raises(UserError, match="Build it again"):
            read_index(folder)
        holder[name] = right
    assert any(
        'manifest.json is damaged: names is ["x"]; it should be a mapping of labels to texts.' in one for one in found
    )
    (folder / "manifest.json").write_text(json.dumps(whole))
    assert len(read_index(folder)) == 60


@pytest.mark.parametrize("name", ["index.faiss", "rows.npz", "manifest.json"])
def test_any_damaged_byte_is_found_or_changes_no_value(name: str, small: Path) -> None:
    manifest = read_manifest(small)
    found = 0
    for damaged in flipped_bits((small / name).read_bytes(), 60):
        (small / name).write_bytes(damaged)
        try:
            read_index(small)
        except UserError:
            found += 1
            continue
        assert name == "manifest.json"
        assert read_manifest(small) == manifest
    assert found == 60 if name != "manifest.json" else found > 40


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("serials", np.arange(50)[::-1]),
        ("serials", np.arange(49)),
        ("labels", np.full(50, -2)),
        ("labels", np.full(50, 0.5)),
        ("id_offsets", np.arange(51) * 5),
    ],
)
def test_rows_that_cannot_be_are_damage_without_checksums_too(array: str, value: np.ndarray, small: Path) -> None:
    with np.load(small / "rows.npz") as arrays:
        changed = {**arrays, array: value}
    np.savez(small / "rows.npz", **changed)
    as_version_1(small)
    with pytest.raises(UserError, match="rows.npz is damaged"):
        read_index(small)


@pytest.mark.parametrize("moment", ["in the middle of the write", "between the two renames"])
def test_a_killed_write_leaves_the_former_index(moment: str, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = read_index(small)
    index.remove(np.arange(25))

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        if moment == "in the middle of the write":
            patch.setattr(index_files, "file_facts", die)
        else:
            moves: list[object] = []
            rename = os.rename
            patch.setattr(folders, "exchange", lambda first, second: False)
            patch.setattr(os, "rename", lambda *ends: moves.append(ends) or (die if len(moves) == 2 else rename)(*ends))
        child = fork()
        if child == 0:
            try:
                write_index(small, index)
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert small.exists() == (moment == "in the middle of the write")
    assert len(read_index(small)) == 50
    write_index(small, index)
    assert len(read_index(small)) == 25
    assert [path.name for path in small.parent.iterdir()] == ["index"]


def test_npy_export_has_the_vectors_and_a_line_for_each(small: Path, tmp_path: Path) -> None:
    index = read_index(small)
    export_vectors(index, tmp_path / "out", "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "vectors.npy"), index.vectors())
    with open(tmp_path / "out" / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    assert rows[1] == {"id": "id1", "label": "0", "name": "tea", "path": "ü/1.jpg"}
    assert rows[0]["label"] == "-1"


def test_parquet_export_without_pyarrow_names_the_package_and_writes_nothing(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "has_pyarrow", lambda: False)
    with pytest.raises(UserError, match="pip install pyarrow"):
        export_vectors(read_index(stored / "small"), tmp_path / "out.parquet", "parquet")
    assert list(tmp_path.iterdir()) == []


def test_parquet_export_has_the_columns_and_the_vectors(small: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    index = read_index(small)
    export_vectors(index, tmp_path / "out.parquet", "parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "label", "name", "path", "vector"]
    assert table.column("id").to_pylist() == list(index.records.ids)
    np.testing.assert_array_equal(np.array(table.column("vector").to_pylist(), np.float32), index.vectors())
