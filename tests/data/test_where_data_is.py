from __future__ import annotations

import pytest

from shelfmark.core.errors import UserError
from shelfmark.data.layouts import LAYOUTS
from shelfmark.pipelines.prepare import prepare


@pytest.mark.parametrize("what", [name for name, layout in LAYOUTS.items() if layout])
def test_without_a_source_it_is_said_where_the_data_is_and_nothing_is_written(tmp_path, what):
    with pytest.raises(UserError) as caught:
        prepare(what, None, tmp_path / "out")
    told = str(caught.value)
    assert told.startswith("--source is missing: the folder ")
    assert "as --source" in told
    assert not (tmp_path / "out").exists()


def test_the_page_of_a_published_set_is_named(tmp_path):
    with pytest.raises(UserError, match=r"from cvgl\.stanford\.edu/projects/lifted_struct"):
        prepare("sop", None, tmp_path / "out")
