"""`shelfmark ensemble`: one submission from several models' top-k files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shelfmark.core.destinations import require_place
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path
from shelfmark.core.log import say
from shelfmark.predictions.ensemble import join_topk
from shelfmark.predictions.submission import TopK, write_submission, write_topk


def ensemble(
    files: Sequence[Path], weights: Sequence[float] | None, out: Path, num_classes: int = 0
) -> tuple[Path, TopK]:
    """Writes the joint submission to `out`, its best classes with scores and names beside it; returns path and content.

    weights: one a file; None weighs all files alike. num_classes: 0 if unknown. An existing file is never overwritten.
    """
    if len(files) < 2:
        raise UserError(
            f"an ensemble needs two top-k files at least; write them with `{command_line('test')} --topk K`."
        )
    file = unused_path(require_place(out, "--out"))
    content = join_topk(files, weights or [1.0] * len(files), num_classes)
    ids, classes, scores, names = content
    write_submission(file, ids, classes[:, 0])
    topk_file = unused_path(file.with_name(f"{file.stem}_top{classes.shape[1]}.csv"))
    write_topk(topk_file, ids, classes, scores, names)
    say(f"{len(ids)} joint predictions of {len(files)} models written to {file}, with scores to {topk_file}")
    return file, content
