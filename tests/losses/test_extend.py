"""docs/extend.md keeps its word: the loss that it shows needs nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import pytest, torch
from shelfmark.cli import main
from shelfmark.config.errors import ConfigError
from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.losses import LossContext
from shelfmark.recipe.tree import Recipe
from added import test_it_is_what_a_hand_computes

test_it_is_what_a_hand_computes()

def losses(entry):
    words = ["model.heads={rank: {dim: 8}}", f"losses=[{entry}]"]
    return load(Recipe, overrides=[parse_override(word) for word in words]).config.losses

(entry,) = losses("{name: pull, head: rank, power: 3, memory_rows: 8}")
loss = entry.build(LossContext(torch.tensor([2, 1]), torch.device("cpu")))
vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
assert float(loss.over_ranks(vectors, torch.tensor([0, 0, 1]))) == pytest.approx(0.4**3)
with pytest.raises(ConfigError, match=r"losses\\.0\\.pwer=3 is not an option\\. Did you mean losses\\.0\\.power"):
    losses("{name: pull, head: rank, pwer: 3}")
with pytest.raises(ConfigError, match="gives logits, but pull takes vectors"):
    losses("{name: pull, head: classifier}")
sys.exit(main(["config", "--schema"]))
"""


def test_a_loss_is_one_file_and_one_line_and_the_test_that_the_page_shows(tmp_path: Path, checkout: Path) -> None:
    page = (checkout / "docs" / "extend.md").read_text()
    file, line, test = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    package = tmp_path / "shelfmark"
    shutil.copytree(checkout / "lib" / "shelfmark", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "losses" / "pull.py").write_text(file)
    (tmp_path / "added.py").write_text(test)
    table = package / "losses" / "__init__.py"
    text = table.read_text().replace("\nLOSSES: ", "\nfrom shelfmark.losses.pull import PullLoss\n\nLOSSES: ")
    table.write_text(text.replace('    "recall_at_k": ', f'{line}    "recall_at_k": '))
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    described = re.search(r'"power": \{[^}]*"description": "the larger, the more the least similar', done.stdout)
    assert described, done.stdout[-3000:]
