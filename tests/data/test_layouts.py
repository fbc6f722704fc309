"""The table of layouts that `shelfmark prepare` knows."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from shelfmark.data import converters
from shelfmark.data.layouts import LAYOUTS


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout])
def test_a_layout_names_a_converter_that_takes_its_options(name: str) -> None:
    layout = LAYOUTS[name]
    assert layout is not None
    file, _, function = layout.converter.partition(".")
    converter = getattr(import_module(f"shelfmark.data.converters.{file}"), function)
    taken = list(inspect.signature(converter).parameters)
    assert taken[:2] == ["source", "out"]
    assert {*taken[2:]} == {*layout.options}


def test_every_converter_stands_in_the_table() -> None:
    named = {layout.converter for layout in LAYOUTS.values() if layout}
    files = [file for file in Path(converters.__file__).parent.glob("*.py") if file.stem != "__init__"]
    defined = {
        f"{file.stem}.{name}"
        for file in files
        for name in vars(import_module(f"shelfmark.data.converters.{file.stem}"))
        if name.startswith("prepare_") and f"def {name}(source" in file.read_text()
    }
    assert defined <= named
