"""Under which licence the weights stand that a network begins with."""

from __future__ import annotations

from typing import NamedTuple

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import backbone_name
from shelfmark.models.hub import hub_name, licence_at_the_hub
from shelfmark.models.options import PRETRAINED
from shelfmark.models.published import published
from shelfmark.models.starter import STARTER_LICENCE


class Licence(NamedTuple):
    """name: as the hub spells it, such as apache-2.0; '' where it is not known or where no weights were taken.
    told: a sentence. base: the weights' repository on the hub, '' where there is none."""

    name: str
    told: str
    base: str = ""


def weights_licence(backbone: str, weights: str) -> Licence:
    """backbone, weights: as `model.backbone` and `model.weights`. Nothing is downloaded."""
    if not weights:
        return Licence("", "The training began with random weights, so no licence comes from other weights.")
    if weights != PRETRAINED:
        return Licence(
            "", f"The training began with the file {weights}, which names no licence: ask where it came from."
        )
    try:
        source = published(backbone)
        name = backbone_name(backbone)
    except UserError:
        return Licence("", f"The training began with published weights of {backbone}, whose licence is not known here.")
    licence = STARTER_LICENCE if source.is_starter else licence_at_the_hub(source.trained_as)
    base = "" if source.is_starter else hub_name(source.trained_as)
    if not licence:
        return Licence(
            "", f"The training began with published weights of {name}, for which timm states no licence.", base
        )
    where = "their package" if source.is_starter else "timm"
    return Licence(
        licence,
        f"The training began with published weights of {source.trained_as}, for which {where} states the licence"
        f" {licence}. Read it before you ship a product; the pictures of that training may have terms of their own.",
        base,
    )
