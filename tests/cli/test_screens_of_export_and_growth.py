"""What `export`, `export verify` and `grow` show: one picture is no pictures, and fewer bits are no equal answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shelfmark.cli import export_screens, grow_screens

MEASURED = {
    "pictures": 1,
    "top1_agreement": 1.0,
    "probability_difference": 0.0,
    "logits_difference": 0.0,
    "embedding_difference": 0.0,
    "recall@1": None,
}


def verified(allowed: float, **more: object) -> SimpleNamespace:
    told = {"folder": "export", "measured": MEASURED, "allowed": {"top1_agreement": allowed}, "unmet": []}
    return SimpleNamespace(**{**told, "pixels_equal": 1, "is_weaker": True, **more})


@pytest.mark.parametrize(("allowed", "is_exact"), [(1.0, True), (0.84, False)])
def test_a_file_in_fewer_bits_is_not_said_to_answer_as_its_checkpoint(allowed, is_exact, capsys):
    export_screens.verified(verified(allowed))
    said = capsys.readouterr().out
    assert ("answers here as its checkpoint did" in said) is is_exact
    assert ("loses no more here" in said) is not is_exact


def test_an_export_with_one_reference_picture_says_image(capsys):
    parity = {
        "pictures": 1,
        "of": "val.json",
        "measured": MEASURED,
        "is_weaker": True,
        "pixels": {"resize_differs": 1, "decoders": {"pictures_that_differ": 1, "largest_step": 2, "other_class": 0}},
        "commands": {"other_class": None},
        "table": [],
        "reference": {"pictures": 1, "bytes": 1000},
        "exporter": "torchscript",
    }
    export_screens.exported(SimpleNamespace(folder="export", parity=parity), None)
    export_screens.verified(verified(1.0))
    said = capsys.readouterr().out
    assert "1 images" not in said
    assert said.count("1 image") == 5


def test_a_new_class_of_one_picture_says_picture(capsys):
    new = SimpleNamespace(top1=None, num_images=0)
    grow_screens.grown(SimpleNamespace(classes={4: "Moon tea"}, counts={4: 1}, old=None, new=new))
    assert "Moon tea (4): 1 picture\n" in capsys.readouterr().out
