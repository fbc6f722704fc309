"""The learned clusterer behind the common interface, and every clusterer on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json
from shelfmark.discovery.clusterers import (
    CLUSTERERS,
    Components,
    Dbscan,
    Hdbscan,
    Infomap,
    KMeans,
    LanderClusterer,
    Leiden,
    read_clusterer,
    write_clusterer,
)
from shelfmark.discovery.clusterers.clusters import numbered
from shelfmark.discovery.hierarchy import cluster
from shelfmark.discovery.lander import Lander
from shelfmark.discovery.lander_files import save_lander


def vectors(num_images: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 8, generator=draws)
    return centres[torch.arange(num_images) % 5] + 0.3 * torch.randn(num_images, 8, generator=draws)


def test_lander_gives_the_clusters_of_the_hierarchy_and_the_density_of_its_first_level() -> None:
    features, model = vectors(60), Lander(8, 16, seed=1)
    found = LanderClusterer(model=model, k=5, tau=0.3, levels=3, early_stop=False).cluster(features)
    expected = cluster(features, model, 5, 0.3, 3, False)
    assert torch.equal(found.labels, numbered(expected.labels))
    assert 1 < found.num_clusters < 60
    assert torch.equal(found.density, expected.density)
    assert [level["num_nodes"] for level in found.record["levels"]] == [one.num_nodes for one in expected.record]
    assert found.record["num_clusters"] == found.num_clusters
    assert LanderClusterer(model=model, k=5, tau=1.0).cluster(features).num_clusters == 60


def test_lander_takes_numpy_and_no_images() -> None:
    clusterer = LanderClusterer(model=Lander(8, 16, seed=1), k=5, tau=0.3)
    features = vectors(20)
    assert torch.equal(clusterer.cluster(features.numpy()).labels, clusterer.cluster(features).labels)
    empty = clusterer.cluster(features[:0])
    assert empty.labels.shape == empty.density.shape == (0,)
    assert empty.num_clusters == 0


@pytest.mark.parametrize(
    ("options", "said"), [({"tau": 1.5}, "tau=1.5"), ({"k": 1}, "k=1"), ({"levels": 0}, "levels=0")]
)
def test_lander_refuses_options_that_cannot_be(options: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        LanderClusterer(model=Lander(8, 16), **options)


@pytest.mark.parametrize(
    "clusterer",
    [
        Components(k=5, threshold=0.61234567891234),
        Components(),
        Dbscan(k=9, threshold=0.5, min_images=3),
        KMeans(images_per_cluster=7.25, seed=3),
        Hdbscan(min_cluster_size=3, min_images=2),
        Infomap(threshold=0.5, num_trials=2),
        Leiden(threshold=0.5, resolution=0.2),
    ],
    ids=lambda one: one.name,
)
def test_what_is_read_is_what_was_written(tmp_path: Path, clusterer: Components | Dbscan | KMeans | Hdbscan) -> None:
    write_clusterer(tmp_path / "clusterer", clusterer)
    assert read_clusterer(tmp_path / "clusterer") == clusterer
    assert [file.name for file in (tmp_path / "clusterer").iterdir()] == ["clusterer.json"]


def test_lander_on_disk_keeps_its_network(tmp_path: Path) -> None:
    written = LanderClusterer(model=Lander(8, 16, num_layers=2, seed=1), k=5, tau=0.3, early_stop=False)
    write_clusterer(tmp_path, written)
    read = read_clusterer(tmp_path)
    assert isinstance(read, LanderClusterer)
    assert (read.k, read.tau, read.levels, read.early_stop) == (5, 0.3, 10, False)
    assert torch.equal(read.cluster(vectors(40)).density, written.cluster(vectors(40)).density)


def test_another_network_in_the_folder_is_refused(tmp_path: Path) -> None:
    write_clusterer(tmp_path, LanderClusterer(model=Lander(8, 16, seed=1)))
    save_lander(tmp_path / "other", Lander(8, 16, seed=2))
    (tmp_path / "other" / "lander.safetensors").replace(tmp_path / "lander.safetensors")
    with pytest.raises(UserError, match="lander.safetensors"):
        read_clusterer(tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "componets", "options": {}}, "Did you mean 'components'"),
        ({"name": "components", "options": {"treshold": 1}}, "no option treshold"),
        ({"options": {}}, "needs a name"),
        ([], "needs a name"),
        ({"name": "components", "options": {"threshold": 7}}, "between 0 and 1"),
        ({"name": "components", "options": {"threshold": "7"}}, "does not fit components.*Fit the clusterer again"),
    ],
)
def test_a_file_that_is_no_clusterer_is_refused(tmp_path: Path, value: object, said: str) -> None:
    write_json(tmp_path / "clusterer.json", value)
    with pytest.raises(UserError, match=said):
        read_clusterer(tmp_path)


def test_the_table_names_each_by_its_own_name(tmp_path: Path) -> None:
    assert all(name == kind.name for name, kind in CLUSTERERS.items())
    write_clusterer(tmp_path, Components(threshold=0.5))
    assert read_json(tmp_path / "clusterer.json") == {"name": "components", "options": {"k": 10, "threshold": 0.5}}
