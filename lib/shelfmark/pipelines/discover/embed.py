"""The stage `embed`: the embeddings of every set by the round's best model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial

from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.together import from_main
from shelfmark.pipelines.discover.files import EMBEDDED_SETS, RunFiles
from shelfmark.pipelines.discover.sets import set_table
from shelfmark.recipe import Recipe
from shelfmark.runtime.features import features_of
from shelfmark.runtime.trained_model import open_model


def embed(run: RunFiles, number: int, recipe: Recipe) -> None:
    """Writes the embeddings of each set by the round's best model; every process takes part."""
    model = open_model(run.model(number))
    raw = run.stage(number, "embed") / "raw"
    for name in EMBEDDED_SETS:
        rows = run.rows(name)
        if not len(rows):
            continue
        found = features_of(
            model.network,
            recipe,
            set_table(run, name),
            raw / name,
            made_by=model.hashes,
            precision=model.precision,
        )
        kept = replace(found, rows=rows[found.rows])
        from_main(partial(write_embeddings, run.embedded(number, name), kept))

    def clear() -> None:
        for name in EMBEDDED_SETS:
            shutil.rmtree(raw / name, ignore_errors=True)

    from_main(clear)
