"""`shelfmark index verify` and `index compact`: what they say, how they end, and what they leave."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from forks import fork
from refusals import refusal

from shelfmark.cli import main
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.strings import Strings
from shelfmark.pipelines import index_life
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import read_index, read_manifest, write_index
from shelfmark.retrieval.index_kinds import parameters_for

FACTS = {"checkpoint": "log/shop/best model", "checkpoint_sha256": "0" * 64}
DIM = 24


def hard(num: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num, DIM)).astype(np.float32)


def records(num: int, first: int = 0) -> Records:
    ids = Strings.of(f"id{number}" for number in range(first, first + num))
    return Records(ids, np.arange(first, first + num), ids)


def built(folder: Path, kind: str, num: int = 500, **settings: Any) -> Index:
    index = Index.build(hard(num), records(num), kind=kind, facts=FACTS, **settings)
    write_index(folder, index)
    return index


def verified(folder: Path, capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, Any]:
    """What `index verify` finds; with the same status it shows it to a person too."""
    capsys.readouterr()
    assert main(["index", "verify", str(folder)]) == status
    shown = capsys.readouterr().out
    assert main(["index", "verify", "--index", str(folder), "--json"]) == status
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] == (status == 0)
    for text in (*found["problems"], *(one[part] for one in found["advice"] for part in ("why", "command"))):
        assert text in shown
    return found


def test_a_graph_with_removed_images_is_told_to_be_compacted_and_the_line_does_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "my index"
    index = built(folder, "hnsw")
    index.remove(np.arange(200))
    index.add(hard(510)[500:], records(10, first=500))
    write_index(folder, index)
    query, size = hard(20), (folder / "index.faiss").stat().st_size
    before = [[index.records.ids[int(row)] for row in rows] for rows in index.search(query, 5).ids]
    found = verified(folder, capsys)
    assert (found["num_images"], found["num_later"], found["ids"]["missing"]) == (310, 10, 0)
    assert found["recall"]["overall"]["measured"] > 0.99
    assert found["recall"]["later"]["num_queries"] == 10
    assert found["removed_bytes"] == pytest.approx(size * 200 / 510, abs=1)
    assert size < found["memory_bytes"] < found["size_bytes"]
    [advice] = found["advice"]
    assert advice["why"] == "free the room of 200 removed images"
    words = shlex.split(advice["command"])
    assert words[0] == "shelfmark"
    assert main([*words[1:], "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["is_changed"], done["num_freed"], done["num_images"]) == (True, 200, 310)
    assert done["size_bytes"] < 0.7 * done["size_bytes_before"]
    after = read_index(folder)
    assert (after.store.num_dead, after.facts) == (0, FACTS)
    assert [[after.records.ids[int(row)] for row in rows] for rows in after.search(query, 5).ids] == before
    assert verified(folder, capsys)["advice"] == []
    assert main(["index", "compact", str(folder)]) == 0
    assert "is left as it is: no removed image takes room" in caplog.text


def test_recall_below_the_promise_ends_with_3_and_compaction_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "index"
    built(folder, "ivf_flat", 2000, parameters=parameters_for("ivf_flat", 2000, DIM))
    found = verified(folder, capsys, status=3)
    assert found["recall"]["promised"] == 0.95
    assert found["recall"]["overall"]["measured"] < 0.8
    assert "below the promised 95.0%" in found["problems"][0]
    assert found["advice"][0]["command"] == f"shelfmark index compact --index {folder}"
    assert main(["index", "compact", str(folder)]) == 0
    assert verified(folder, capsys)["recall"]["overall"]["measured"] > 0.95


def test_compressed_lists_are_measured_by_what_they_keep_and_a_better_kind_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    index = built(tmp_path / "index", "ivf_pq", 600)
    (tmp_path / "index_features").mkdir()
    found = verified(tmp_path / "index", capsys)
    assert found["recall"]["against"] == "compressed vectors"
    assert index.promise is not None
    assert found["recall"]["promised"] == index.promise.promised < 0.95
    [advice] = found["advice"]
    assert shlex.split(advice["command"]) == [
        *("shelfmark", "index", "build", "--RESUME_MODEL", "log/shop/best model", "--kind", "ivf_flat"),
        *("--embeddings", f"{tmp_path}/index_features", "--out", f"{tmp_path}/index_ivf_flat"),
    ]
    assert main(["index", "compact", str(tmp_path / "index")]) == 0
    assert "new lists need the vectors from before their compression" in caplog.text
    assert main(["index", "info", "--index", str(tmp_path / "index"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recall"]["promised"] == index.promise.promised


@pytest.mark.parametrize("kind", ["flat", "ivf_flat"])
def test_a_lost_vector_ends_with_3_names_the_image_and_is_not_compacted(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = built(tmp_path / "index", kind)
    index.store.structure.remove_ids(faiss.IDSelectorBatch(np.array([499])))
    write_index(tmp_path / "index", index)
    before = read_manifest(tmp_path / "index")
    found = verified(tmp_path / "index", capsys, status=3)
    assert found["ids"] == {"missing": 1, "unknown": 0, "examples": ["id499"]}
    assert found["recall"] is None
    assert found["problems"] == ["images without a vector, which are never found: 1, such as id499"]
    [advice] = found["advice"]
    assert "--RESUME_MODEL 'log/shop/best model'" in advice["command"]
    assert "by default of train" in advice["why"]
    said = refusal(["index", "compact", str(tmp_path / "index")], capsys)
    assert "does not hold the vectors that its table lists" in said
    assert read_manifest(tmp_path / "index") == before


def test_queries_that_are_given_show_what_rows_of_a_graph_as_queries_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A graph with hardly any links: a row finds its own neighbours, a new query gets lost.
    index = built(tmp_path / "index", "hnsw", 1500, parameters={"links": 4, "ef_construction": 40, "ef_search": 40})
    ids, labels = Strings.of(f"new{number}" for number in range(200)), np.full(200, -1)
    new = np.random.default_rng(1).normal(size=(200, DIM)).astype(np.float32)
    write_embeddings(tmp_path / "new", Embeddings(new, labels, ids, ids, {"facts": FACTS}, np.arange(200)))
    assert main(["index", "verify", str(tmp_path / "index"), "--queries", str(tmp_path / "new"), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    units = new / np.linalg.norm(new, axis=1, keepdims=True)
    exact = np.argsort(-(units @ index.vectors().T), axis=1)[:, :10]
    rows = index.search(new, 10).ids
    hits = [len(set(one) & set(other)) / 10 for one, other in zip(rows.tolist(), exact.tolist())]
    assert found["recall"]["queries"] == {
        "measured": pytest.approx(np.mean(hits)),
        "error": pytest.approx(np.std(hits) / 200**0.5),
        "num_queries": 200,
    }
    assert found["recall"]["queries"]["measured"] < found["recall"]["overall"]["measured"]
    assert any("--kind ivf_flat" in one["command"] for one in found["advice"])
    other = Embeddings(new, labels, ids, ids, {"facts": {"checkpoint_sha256": "1" * 64}}, np.arange(200))
    write_embeddings(tmp_path / "other", other)
    argv = ["index", "verify", str(tmp_path / "index"), "--queries", str(tmp_path / "other")]
    assert "were made by another model than" in refusal(argv, capsys)


def test_a_kill_while_it_is_compacted_leaves_the_former_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = built(tmp_path / "index", "hnsw", 100)
    index.remove(np.arange(50))
    write_index(tmp_path / "index", index)
    before = read_manifest(tmp_path / "index")

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr("shelfmark.retrieval.index_files.write_manifest", die)
        child = fork()
        if child == 0:
            try:
                index_life.compact(tmp_path / "index")
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read_manifest(tmp_path / "index") == before
    assert len(read_index(tmp_path / "index")) == 50
    assert index_life.compact(tmp_path / "index").num_freed == 50


def test_an_index_of_version_0_1_0_is_verified_and_compacted(
    tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(checkout / "tests" / "version_0_1_0" / "index", tmp_path / "index")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    found = verified(folder, capsys)
    assert (found["kind"], found["num_images"], found["num_later"]) == ("flat", 60, 0)
    assert found["recall"]["overall"]["measured"] == 1
    assert main(["index", "compact", str(folder)]) == 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_one_index_has_to_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(tmp_path / "index", "flat", 20)
    named = str(tmp_path / "index")
    for command in ("verify", "compact"):
        assert "name the folder of one index" in refusal(["index", command], capsys)
        assert "name the folder of one index" in refusal(["index", command, named, "--index", named], capsys)
        assert "is not an index: it does not exist" in refusal(["index", command, str(tmp_path / "no")], capsys)
