"""Configs by name: those that the package brings, and those of `configs/` here."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.config.errors import ConfigError
from shelfmark.config.files import find_config, read_config, shipped_configs


def test_every_config_of_the_checkout_is_shipped_and_found_by_its_name(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {str(file.relative_to(checkout / "configs"))[:-5]: file for file in (checkout / "configs").rglob("*.yaml")}
    assert shipped_configs().keys() == files.keys()
    for name, file in files.items():
        for words in (name, f"{name}.yaml", f"configs/{name}.yaml"):
            assert find_config(Path(words)).samefile(file)
        read_config(find_config(Path(name)))


def test_a_file_here_comes_before_a_shipped_config_and_a_folder_of_data_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grocery").mkdir()
    assert find_config(Path("grocery")) == shipped_configs()["grocery"]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "grocery.yaml").write_text("seed: 5\n")
    assert find_config(Path("grocery")) == Path("configs/grocery.yaml")
    (tmp_path / "mine").write_text("seed: 6\n")
    assert find_config(Path("mine")) == Path("mine")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grocry", r"grocry is neither a file nor a shipped config\. Did you mean grocery\?"),
        ("crtt", r"Did you mean longtail/crt\?"),
        ("longtail/crtt", r"Did you mean longtail/crt\?"),
        ("zzz", r"There are: .*grocery, .*longtail/crt, .*`shelfmark config --list` describes them"),
        ("zzz.yaml", r"zzz\.yaml does not exist"),
        ("here", "here is a folder; name a YAML file in it"),
    ],
)
def test_an_unknown_name_is_told_with_the_near_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(ConfigError, match=said):
        find_config(Path(name))


def test_the_list_says_what_each_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["config", "--list"]) == 0
    printed = capsys.readouterr().out
    assert "\n  grocery   " in printed
    assert "ResNet-18 from scratch on 2,640 photographs" in " ".join(printed.split())
    assert [name for name in shipped_configs() if f"  {name} " not in printed] == []
