"""Features in shards: consecutive images whose features are kept as soon as they are whole.

<out>_shards/          beside the folder of the features, gone when that is whole
    plan.json          which images each shard has, and all that determines their features
    00000/             one shard: features.f32, rows.npy, and manifest.json, which is its mark of being done
"""

from shelfmark.runtime.shards.flow import SHARD_IMAGES, InShards, discard_shards
from shelfmark.runtime.shards.ray_team import ray_actors, require_ray
from shelfmark.runtime.shards.team import Team

__all__ = ["SHARD_IMAGES", "InShards", "Team", "discard_shards", "ray_actors", "require_ray"]
