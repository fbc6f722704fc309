"""The published weights of a backbone: where they are found, and with which input they were trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from shelfmark.models.backbones import OWN, backbone_name
from shelfmark.models.hub import hub_name, is_downloaded, trained_with
from shelfmark.models.starter import starter_file

PRETRAIN_MODELS = Path("pretrain_models")
"""Where weights lie that a user put there by hand."""

FILES = {
    "resnet18": {"resnet18-f37072fd.pth": "resnet18.tv_in1k"},
    "resnet34": {"resnet34-b627a593.pth": "resnet34.tv_in1k"},
    "resnet50": {
        "resnet50-19c8e357.pth": "resnet50.tv_in1k",
        "resnet50-0676ba61.pth": "resnet50.tv_in1k",
        "resnet50-11ad3fa6.pth": "resnet50.tv2_in1k",
    },
    "resnet101": {
        "resnet101-5d3b4d8f.pth": "resnet101.tv_in1k",
        "resnet101-63fe2227.pth": "resnet101.tv_in1k",
        "resnet101-cd907fc2.pth": "resnet101.tv2_in1k",
    },
    "resnet152": {"resnet152-394f9c45.pth": "resnet152.tv_in1k", "resnet152-f82ba261.pth": "resnet152.tv2_in1k"},
    "resnest50d": {"resnest50-528c19ca.pth": "resnest50d"},
    "resnest101e": {"resnest101-22405ba7.pth": "resnest101e"},
    "resnest200e": {"resnest200-75117900.pth": "resnest200e"},
    "resnest269e": {"resnest269-0cc87c48.pth": "resnest269e"},
}
"""The files that torchvision and ResNeSt publish, the one that is taken first before the others; and timm's name of
each one's weights."""


class Source(NamedTuple):
    """file: with the weights; None where timm has them, or can download them. trained_as: timm's name of these weights.
    is_starter: the file is an installed package's, with names of its own."""

    file: Path | None
    trained_as: str
    is_starter: bool = False

    def __str__(self) -> str:
        return f"{self.file.name}, installed by pip" if self.file and self.is_starter else str(self.file)


def published(backbone: str, folder: Path = PRETRAIN_MODELS) -> Source:
    """What `model.weights: pretrained` takes: a file in `folder`, else an installed package's, else timm's.

    UserError: there is no such backbone.
    """
    name = backbone_name(backbone)
    for file, trained_as in _files(name).items():
        if (folder / file).is_file():
            return Source(folder / file, trained_as)
    installed = starter_file(name)
    return Source(installed, name, is_starter=installed is not None)


def place_at_hand(backbone: str, folder: Path = PRETRAIN_MODELS) -> str:
    """In words, where the published weights of a backbone lie on this machine; '' if they would be downloaded.

    UserError: there is no such backbone.
    """
    source = published(backbone, folder)
    if source.file is not None:
        return str(source)
    return "downloaded before" if is_downloaded(source.trained_as) else ""


def published_settings(backbone: str, folder: Path = PRETRAIN_MODELS) -> tuple[dict[str, Any], str] | None:
    """The options of `data` with which the published weights of a backbone were trained, and timm's name of these
    weights; None where timm knows none.

    UserError: there is no such backbone.
    """
    name = backbone_name(backbone)
    return None if name in OWN else trained_with(published(name, folder).trained_as)


def by_hand(name: str, folder: Path) -> tuple[Path, str]:
    """Where a file of weights is looked for first, and, in brackets, what of the hub would serve as that file."""
    hub = "" if name.partition(".")[0] in FILES else hub_name(name)
    where = f" (the file model.safetensors of {hub} on the Hugging Face hub)" if hub else ""
    return folder / next(iter(_files(name))), where


def _files(name: str) -> dict[str, str]:
    """Names of files with weights of a backbone, and timm's name of each. `resnet50.tv_in1k` takes those alone."""
    architecture, _, tag = name.partition(".")
    known = {file: one for file, one in FILES.get(architecture, {}).items() if not tag or one == name}
    return {**known, f"{name}.safetensors": name, f"{name}.pth": name}
