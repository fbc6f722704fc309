"""The model card that a run leaves in best_model, and its snippet, which runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image


def test_a_run_leaves_a_card_whose_snippet_runs(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (base / "best_model" / "README.md").read_text()
    assert not (base / "last" / "README.md").exists()
    scores = json.loads((base / "summary.json").read_text())
    assert f"| top-1 | {100 * scores['top1']:.1f}% |" in card
    assert "| answered worst | accuracy |" in card
    [snippet] = re.findall(r"^```python\n(.*?)^```$", card, flags=re.MULTILINE | re.DOTALL)
    # From the folder in which the run was started, as a user would.
    monkeypatch.chdir(base.parent.parent)
    Image.new("RGB", (40, 40), "red").save("photo.jpg")
    names: dict[str, object] = {}
    exec(snippet, names)
    assert names["probabilities"].shape[0] == 1
    assert float(names["probabilities"].sum()) == pytest.approx(1, abs=1e-4)
    assert names["vectors"].shape[0] == 1
