"""A config file, with the files that it builds on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from shelfmark.config.errors import ConfigError, shown
from shelfmark.config.nodes import Node, merged, plain
from shelfmark.config.yaml_lines import read_file
from shelfmark.core.errors import did_you_mean

BASE = "_base_"
"""The key, at the top of a file, that names the file or files which it builds on."""
_HERE = Path("configs")
# In a checkout a link to configs/ at the top; an installed package has the files themselves.
_SHIPPED = (Path(__file__).parents[1] / "configs").resolve()
_MAX_FILES = 64
"""How many files one configuration may read: a few files that each name two others can stand for thousands."""


def find_config(name: Path) -> Path:
    """The file that is meant: one at this path, or a shipped one by its name, such as `grocery` or `longtail/crt`.

    Those in `configs/` here come before those that the package brings. UserError: there is neither.
    """
    if os.path.isfile(name):
        return name
    shipped = shipped_configs()
    # `configs/grocery.yaml`, as a checkout has it, is the same file where the package alone is installed.
    key = name.with_suffix("") if name.suffix in (".yaml", ".yml") else name
    key = key.relative_to(_HERE) if key.is_relative_to(_HERE) else key
    if str(key) in shipped:
        return shipped[str(key)]
    if name.suffix in (".yaml", ".yml") or os.path.lexists(name):
        raise ConfigError([f"{_shown_path(name)} {_lack(name)}"])
    by_leaf = {Path(one).name: one for one in shipped}
    near = did_you_mean(str(name), shipped) or by_leaf.get(did_you_mean(name.name, by_leaf) or "")
    meant = f" Did you mean {near}?" if near else f" There are: {', '.join(shipped)}."
    raise ConfigError(
        [f"--config {name} is neither a file nor a shipped config.{meant} `shelfmark config --list` describes them."]
    )


def shipped_configs() -> dict[str, Path]:
    """The configs by their names, `grocery` or `longtail/crt`: those of the package, and of `configs/` here."""
    found: dict[str, Path] = {}
    for folder in (_SHIPPED, _HERE):
        for file in folder.glob("**/*.yaml"):
            found[str(file.relative_to(folder).with_suffix(""))] = file
    return dict(sorted(found.items(), key=lambda one: ("/" in one[0], one[0])))


def read_config(file: Path, present: Callable[[Node], Node] = lambda tree: tree) -> Node:
    """The tree of the values that the file and its bases set. UserError: a file is missing or is not YAML.

    present: applied to the tree of each file before the trees are merged.
    """
    return _with_bases(_existing(file), (), [], present)


def _with_bases(file: Path, above: tuple[Path, ...], read: list[Path], present: Callable[[Node], Node]) -> Node:
    """The file's tree on top of the trees of its bases; a later base rules. read: the files read so far."""
    read.append(file)
    if len(read) > _MAX_FILES:
        raise ConfigError([f"{_shown_path(read[0])}: more than {_MAX_FILES} files, through their `{BASE}` lines."])
    tree = present(read_file(file, _shown_path(file)))
    named = tree.value.pop(BASE, Node(None, tree.origin))
    result = Node({}, tree.origin)
    for base in _base_names(named):
        path = file.parent / base.value
        chain = (*above, file)
        if not os.path.isfile(path):
            raise ConfigError([f"{base.origin}: {BASE} names {_shown_path(path)}, which {_lack(path)}"])
        if path.resolve() in [one.resolve() for one in chain]:
            names = " -> ".join(_shown_path(one) for one in (*chain, path))
            raise ConfigError([f"{base.origin}: the `{BASE}` lines form a circle: {names}."])
        result = merged(result, _with_bases(path, chain, read, present))
    return merged(result, tree)


def _base_names(named: Node) -> list[Node]:
    nodes = named.value if isinstance(named.value, list) else [named] if named.value is not None else []
    for node in nodes:
        if not isinstance(node.value, str) or not node.value:
            raise ConfigError([f"{node.origin}: {BASE}={shown(plain(named))} must be a file, or a list of files."])
    return nodes


def _existing(file: Path) -> Path:
    if not os.path.isfile(file):
        raise ConfigError([f"{_shown_path(file)} {_lack(file)}"])
    return file


def _lack(path: Path) -> str:
    """Why a path is no config file, and the file that may have been meant."""
    if os.path.isdir(path):
        return "is a folder; name a YAML file in it."
    if os.path.exists(path):
        return "is not a regular file."
    known = {one.stem: one for folder in (Path("configs"), path.parent) for one in sorted(folder.glob("*.y*ml"))}
    near = did_you_mean(path.stem, known)
    return "does not exist." + (f" Did you mean {_shown_path(known[near])}?" if near else "")


def _shown_path(path: Path) -> str:
    """Relative to the working folder where it lies below, so that `file:line` can be clicked."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)
