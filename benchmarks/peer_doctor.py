"""imagededup and CleanVision on a folder of pictures, by their defaults: the peers of bench_doctor.py.

    python peer_doctor.py PICTURES OUT

OUT: a JSON file: {method: {"seconds", "pairs": [[name, name], ...], "blurred": [name, ...] or null}}. Names are paths
relative to PICTURES. imagededup: each of its hashes, at its own distance of 10 bits. CleanVision: exact and near
duplicates, all pairs of a set, and blurry pictures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

HASHES = ("PHash", "DHash", "WHash", "AHash")


def main() -> None:
    folder, out = map(Path, sys.argv[1:])
    found = {name: by_hash(folder, name) for name in HASHES}
    found["CleanVision"] = by_cleanvision(folder)
    out.write_text(json.dumps(found))


def by_hash(folder: Path, name: str) -> dict[str, Any]:
    from imagededup import methods

    began = time.perf_counter()
    near = getattr(methods, name)(verbose=False).find_duplicates(image_dir=str(folder), recursive=True)
    pairs = {tuple(sorted((one, other))) for one, others in near.items() for other in others}
    return {"seconds": time.perf_counter() - began, "pairs": sorted(pairs), "blurred": None}


def by_cleanvision(folder: Path) -> dict[str, Any]:
    from cleanvision import Imagelab

    began = time.perf_counter()
    lab = Imagelab(data_path=str(folder))
    lab.find_issues()
    sets = [*lab.info["exact_duplicates"]["sets"], *lab.info["near_duplicates"]["sets"]]
    pairs = {pair for one in sets for pair in combinations(sorted(_names(one, folder)), 2)}
    blurred = lab.issues[lab.issues["is_blurry_issue"]].index
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "pairs": sorted(pairs), "blurred": sorted(_names(blurred, folder))}


def _names(paths: Iterable[str], folder: Path) -> list[str]:
    return [Path(one).resolve().relative_to(folder.resolve()).as_posix() for one in paths]


if __name__ == "__main__":
    main()
