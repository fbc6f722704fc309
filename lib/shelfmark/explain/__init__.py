"""Why a network answers as it does: the regions that speak for a product, and those that two pictures share.

`score_maps` chooses the method by the network, and says which one it took; `named_regions` finds what to name in a map;
`mutual_matches` pairs the patches of two pictures. Nothing here reads a file or knows of a checkpoint.
"""

from shelfmark.explain.infill import blurred, infilled
from shelfmark.explain.last_map import LastMap
from shelfmark.explain.matches import Matches, mutual_matches
from shelfmark.explain.methods import METHODS, ScoreMaps, score_maps
from shelfmark.explain.regions import Region, named_regions

__all__ = [
    "METHODS",
    "LastMap",
    "Matches",
    "Region",
    "ScoreMaps",
    "blurred",
    "infilled",
    "mutual_matches",
    "named_regions",
    "score_maps",
]
