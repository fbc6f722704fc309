"""`shelfmark index verify` and `index compact`: whether an index still holds and finds what it should, and its care."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say
from shelfmark.core.terminal import percent
from shelfmark.retrieval.effort import PROMISED
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.index_check import IdCheck, RecallCheck, check_ids, check_recall, recall_of_queries
from shelfmark.retrieval.index_compact import compacted, reason_to_compact
from shelfmark.retrieval.index_files import read_index, read_manifest, write_index
from shelfmark.retrieval.recall import PLACES, Recall
from shelfmark.retrieval.stores import MilvusStore, Place
from shelfmark.runtime.index_promise import told_promise
from shelfmark.runtime.model_hashes import same_embedding
from shelfmark.runtime.stored_features import stored_pass_facts

COMPRESSED = "compressed vectors"


@dataclass(frozen=True)
class Advice:
    """why: a sentence. command: a line to paste; "" where the sentence says what is missing for one."""

    why: str
    command: str


@dataclass(frozen=True)
class Verification:
    """What was found of an index. recall: None where the ids differ. promised: the recall that it should have.

    num_later: images that came after the build. memory_bytes: about what it takes when it is open. removed_bytes: of
    these, what removed images take. problems: what is wrong, a sentence each.
    """

    folder: Path
    kind: str
    metric: str
    num_images: int
    num_later: int
    ids: IdCheck
    recall: RecallCheck | None
    promised: float
    size_bytes: int
    memory_bytes: int
    removed_bytes: int
    problems: tuple[str, ...]
    advice: tuple[Advice, ...]

    @property
    def against(self) -> str:
        """What the recall is measured against."""
        return COMPRESSED if self.kind == "ivf_pq" else "vectors"

    def as_json(self) -> dict[str, Any]:
        ids = {"missing": self.ids.num_missing, "unknown": self.ids.num_unknown, "examples": list(self.ids.missing)}
        recall = None
        if self.recall is not None:
            names = ("overall", "built", "later", "queries")
            of_ages = {name: _recall_json(getattr(self.recall, name)) for name in names}
            recall = {"k": PLACES, "promised": self.promised, "against": self.against, **of_ages}
        return {
            "index": self.folder,
            "holds": not self.problems,
            "kind": self.kind,
            "metric": self.metric,
            "num_images": self.num_images,
            "num_later": self.num_later,
            "ids": ids,
            "recall": recall,
            "size_bytes": self.size_bytes,
            "memory_bytes": self.memory_bytes,
            "removed_bytes": self.removed_bytes,
            "problems": list(self.problems),
            "advice": [asdict(one) for one in self.advice],
        }


@dataclass(frozen=True)
class Compaction:
    """What `compact` did. reason: None where the index was left as it was."""

    folder: Path
    kind: str
    num_images: int
    num_freed: int
    reason: str | None
    size_bytes_before: int
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        return {"index": told.pop("folder"), "is_changed": self.reason is not None, **told}


def verify(folder: Path, queries: Path | None = None, place: Place | None = None) -> Verification:
    """Checks every file, the ids, and the recall of a sample against exact search. Nothing is changed.

    queries: features of pictures to search for; the recall is then measured by these too. place: where the database
    with the vectors is now, if it was moved. UserError: a file is missing or damaged, or the queries come from another
    model.
    """
    index = read_index(folder, place)
    asked = None if queries is None else _queries(folder, index, queries)
    ids = check_ids(index)
    recall = check_recall(index) if ids.is_right else None
    if recall is not None and asked is not None:
        recall = replace(recall, queries=recall_of_queries(index, list(asked.image_ids), asked.features[:]))
    promised = _promised(index)
    in_file = (folder / index.store.file_name).stat().st_size
    records = index.records
    arrays = (records.labels, index.store.ids, records.ids.data, records.ids.offsets, records.paths.data)
    memory = in_file + sum(array.nbytes for array in (*arrays, records.paths.offsets))
    num_dead = max(0, index.store.num_dead)
    return Verification(
        folder,
        index.layout.kind,
        index.layout.metric,
        len(index),
        len(index) - index.num_built,
        ids,
        recall,
        promised,
        _size(folder),
        memory,
        in_file * num_dead // max(1, num_dead + len(index)),
        problems=tuple(_problems(index, ids, recall, promised)),
        advice=tuple(_advice(folder, index, ids, recall, promised)),
    )


def compact(folder: Path, place: Place | None = None) -> Compaction:
    """Lays the index out anew where that frees removed images or finds what it should. It is replaced at once, whole.

    UserError: its ids differ, so that the damage would be carried on.
    """
    read_manifest(folder)
    with folder_lock(folder, "compacting it"):
        index, before = read_index(folder, place), _size(folder)
        if not check_ids(index).is_right:
            raise UserError(
                f"{folder} does not hold the vectors that its table lists, so it cannot be compacted. `shelfmark index"
                f" verify --index {shlex.quote(str(folder))}` says what is missing and how to build it again."
            )
        reason = reason_to_compact(index)
        if reason is None:
            say(f"{folder} is left as it is: {_left_because(index)}")
            return Compaction(folder, index.layout.kind, len(index), 0, None, before, before)
        num_freed = index.store.num_dead
        say(f"{folder} is laid out anew, since {reason}")
        index = compacted(index)
        write_index(folder, index)
        if index.promise is not None:
            say(told_promise(index, index.promise))
        done = Compaction(folder, index.layout.kind, len(index), num_freed, reason, before, _size(folder))
        say(
            f"{folder} has {done.num_images:,} images and {_megabytes(done.size_bytes)}, where it had"
            f" {_megabytes(before)}"
        )
        return done


def _queries(folder: Path, index: Index, queries: Path) -> Embeddings:
    features = read_embeddings(queries)
    if not same_embedding(index.facts, stored_pass_facts(features)):
        raise UserError(
            f"the features in {queries} were made by another model than {folder}, so they find nothing in it. Write"
            f" some with `shelfmark embed --RESUME_MODEL {index.facts.get('checkpoint', 'CKPT')}`."
        )
    return features


def _left_because(index: Index) -> str:
    if isinstance(index.store, MilvusStore):
        return f"its vectors are in {index.store.place}, which lays them out itself"
    if index.layout.kind == "flat":
        return "flat frees removed images at once, and compares all others"
    if index.layout.kind == "hnsw":
        return "no removed image takes room"
    if index.layout.kind == "ivf_pq":
        return "ivf_pq frees removed images at once, and new lists need the vectors from before their compression"
    return "ivf_flat frees removed images at once, and its recall is as promised"


def _promised(index: Index) -> float:
    if index.layout.kind == "flat":
        return 1.0
    return PROMISED if index.promise is None else index.promise.promised


def _is_below(recall: Recall, promised: float) -> bool:
    """Whether the recall is lower than promised, and not by the chance of the sample."""
    return recall.upper < promised


def _problems(index: Index, ids: IdCheck, recall: RecallCheck | None, promised: float) -> Iterator[str]:
    if ids.num_missing:
        some = ", ".join(ids.missing)
        yield f"images without a vector, which are never found: {ids.num_missing:,}, such as {some}"
    if ids.num_unknown and isinstance(index.store, MilvusStore):
        yield (
            f"vectors in {index.store.place} that the index does not have, of removed images that came back or of an"
            f" addition that was not finished; no answer has them: {ids.num_unknown:,}"
        )
    elif ids.num_unknown:
        yield f"vectors that belong to no image, so that answers may name wrong ones: {ids.num_unknown:,}"
    if recall is None:
        return
    for name, found in recall.each.items():
        if _is_below(found, promised):
            yield f"recall@{PLACES}, {name}: {percent(found.value)}, below the promised {percent(promised)}"


def _advice(folder: Path, index: Index, ids: IdCheck, recall: RecallCheck | None, promised: float) -> Iterator[Advice]:
    kind = index.layout.kind
    if not ids.is_right and isinstance(index.store, MilvusStore):
        words = ["shelfmark", "index", "verify", str(folder), "--repair", "--store", str(index.store.place)]
        yield Advice("make store and index the same again, without images whose vectors are lost", shlex.join(words))
        return
    if not ids.is_right:
        yield _build_again(folder, index, kind, "build it again, and put the new one in its place")
        return
    compacting = f"shelfmark index compact --index {shlex.quote(str(folder))}"
    is_below = recall is not None and any(_is_below(one, promised) for one in recall.each.values())
    if isinstance(index.store, MilvusStore):
        if is_below:
            yield _build_again(folder, index, "flat", "compare all vectors, for the recall that is promised")
        return
    if is_below and kind == "ivf_flat":
        yield Advice("lay it out anew, for the recall that is promised", compacting)
    elif is_below and kind != "flat":
        yield _build_again(folder, index, "ivf_flat", "read as many lists as it takes, for the recall that is promised")
    if index.store.num_dead:
        yield Advice(f"free the room of {index.store.num_dead:,} removed images", compacting)
    elif index.store.hints() and not is_below:
        hint = index.store.hints()[0]
        yield Advice(hint, compacting) if kind == "ivf_flat" else _build_again(folder, index, kind, hint)
    if index.promise is not None and not index.promise.is_kept and not is_below:
        why = f"its recall was {percent(index.promise.measured.value)} when it was built; ivf_flat reaches more"
        yield _build_again(folder, index, "ivf_flat", why)


def _build_again(folder: Path, index: Index, kind: str, why: str) -> Advice:
    """Advice to build another index of the same images; of the features beside it, where they are still there."""
    features, checkpoint = folder.with_name(f"{folder.name}_features"), index.facts.get("checkpoint")
    if checkpoint is None:
        return Advice(f"{why}: of the vectors that it was built of", "")
    words = ["shelfmark", "index", "build", "--RESUME_MODEL", str(checkpoint), "--kind", kind]
    if isinstance(index.store, MilvusStore):
        words += ["--store", str(index.store.place)]
    if features.is_dir():
        words += ["--embeddings", str(features)]
    else:
        why = f"{why} (say with --split, --annotations or --images of which images; by default of train)"
    if num_later := len(index) - index.num_built:
        why = f"{why}; then add the {num_later:,} images again that came later, with `shelfmark index add`"
    return Advice(why, shlex.join([*words, "--out", str(folder.with_name(f"{folder.name}_{kind}"))]))


def _recall_json(recall: Recall | None) -> dict[str, Any] | None:
    if recall is None:
        return None
    return {"measured": recall.value, "error": recall.error, "num_queries": recall.num_queries}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 10**6:,.1f} MB"
