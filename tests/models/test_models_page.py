"""docs/models.md says of each model what timm says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch

from shelfmark.models.backbones import backbone_name
from shelfmark.models.published import published_settings

ROW = re.compile(
    r"^\| `([^`]+)` \| `([^`]+)` \| ([\d.]+) \| (\d+) \| (\w+) \| (\w+) \| ([\d.]+) \| ([\w.-]+) \|$", re.M
)
STATISTICS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "halves": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "CLIP": ((0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)),
}


def test_each_name_of_the_page_exists_and_has_the_size_and_the_input_of_its_row(checkout: Path, tmp_path: Path) -> None:
    rows = ROW.findall((checkout / "docs" / "models.md").read_text(encoding="utf-8"))
    assert len(rows) >= 12
    assert rows[0][0] == "tf_efficientnet_lite0"
    for name, tag, millions, px, statistics, resize, crop, licence in rows:
        config = timm.get_pretrained_cfg(backbone_name(name))
        assert config is not None
        found = published_settings(name, tmp_path)
        assert found is not None
        settings, weights = found
        assert weights == f"{config.architecture}.{tag}"
        assert (settings["interpolation"], settings["eval_crop"]) == (resize, float(crop)), name
        mean, std = STATISTICS[statistics]
        assert [*settings["mean"], *settings["std"]] == pytest.approx([*mean, *std], abs=5e-5), name
        assert (config.input_size, config.license) == ((3, int(px), int(px)), licence), name
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0)
        assert f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.1f}" == millions, name
