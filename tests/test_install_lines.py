"""What users are told to install is ours: `shelfmark` on PyPI is another project's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
DECLARED = {line for lines in [PROJECT["dependencies"], *EXTRAS.values()] for line in lines}
PACKAGES = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in DECLARED}

PLACES = ("lib/**/*.py", "configs/**/*.yaml", "scripts/*", "benchmarks/**/*", "*.py", "Makefile", "*.md", "docs/*.md")
COMMAND = re.compile(r"""\bpip3?["',\s]+install\b(.*)""")
# Options of pip, each with its value; then an install of the checkout, or packages. The sentence goes on after
# a mark that no name has.
OPTION = re.compile(r"\s+(?:-c\s+\S+|--[a-z-]+|-q|-U)")
CHECKOUT = re.compile(r"""\s+(?:-e\s+)?(?:\.|(['"])\.\[([\w,-]+)\]\1)(?=[\s`'").,;|]|$)""")
PACKAGE = re.compile(r"""\s+(?:(['"])(.+?)\1|([A-Za-z0-9][\w-]*))""")


def violation(rest: str) -> str:
    """What is wrong with the words behind `pip install`, or ""."""
    if " --no-index" in rest:
        # Files of this machine alone.
        return ""
    while option := OPTION.match(rest):
        rest = rest[option.end() :]
    if checkout := CHECKOUT.match(rest):
        unknown = set((checkout[2] or "").split(",")) - EXTRAS.keys() - {""}
        return f"no extra {', '.join(sorted(unknown))}" if unknown else ""
    names = []
    while package := PACKAGE.match(rest):
        names.append(package[2] or package[3])
        rest = rest[package.end() :]
    if not names:
        return "neither the checkout nor a package"
    return next((f"{name} is not declared in pyproject.toml" for name in names if name not in PACKAGES | DECLARED), "")


def install_lines() -> Iterator[tuple[str, str]]:
    """Each place, and the words behind `pip install` in it."""
    for file in sorted(
        {file for pattern in PLACES for file in ROOT.glob(pattern) if file.is_file() and file.suffix != ".pyc"}
    ):
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            for found in COMMAND.finditer(line):
                yield f"{file.relative_to(ROOT)}:{number}", found[1]


def test_every_install_line_names_the_checkout_or_a_declared_package() -> None:
    lines = list(install_lines())
    assert {place.partition("/")[0] for place, _ in lines} >= {"lib", "configs", "docs"}
    assert {place.partition(":")[0] for place, _ in lines} >= {"README.md", "scripts/install.sh"}
    assert [f"{place}: {said}" for place, rest in lines if (said := violation(rest))] == []


@pytest.mark.parametrize(
    "rest",
    [
        " -e .",
        " .",
        ' --quiet --no-index --target x "$WHEELS"/*.whl',
        " -e '.[adapters]', or set model.adapters.rank=0",
        " -e '.[leiden,cluster]'`; GPL |",
        " --quiet -c constraints.txt -e '.[dev]'",
        " peft",
        " faiss-cpu. engine=torch gives the same",
        " igraph leidenalg.",
        " infomap) and more",
        " 'albumentations>=1.4.21,<3'\"",
    ],
)
def test_the_allowed_forms_pass(rest: str) -> None:
    assert violation(rest) == ""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (" 'shelfmark[adapters]'", "shelfmark[adapters] is not declared"),
        (" shelfmark", "shelfmark is not declared"),
        # Nothing of ours is on PyPI under this name either.
        (" shelfmark-vision", "shelfmark-vision is not declared"),
        (" -e '.[adaptors]'", "no extra adaptors"),
        (" -e '.[leiden,adaptors]'", "no extra adaptors"),
        (" peft apex", "apex is not declared"),
        (" 'peft>=99'", "peft>=99 is not declared"),
        (" --upgrade torchsearch", "torchsearch is not declared"),
        (" git+https://example.org/x", "git is not declared"),
        (" ./other", "neither the checkout nor a package"),
    ],
)
def test_what_would_install_a_stranger_s_code_is_found_out(rest: str, said: str) -> None:
    assert said in violation(rest)


def test_the_distribution_has_a_name_of_its_own_and_the_command_keeps_its() -> None:
    assert PROJECT["name"] == "shelfmark-vision"
    assert PROJECT["scripts"] == {"shelfmark": "shelfmark.cli:main"}
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "`shelfmark` on PyPI is another project's" in words
