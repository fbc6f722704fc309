"""Photographs on a command line, among which `key=value` may stand. The parser cannot tell the one from the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from shelfmark.cli.existing import require_one
from shelfmark.cli.parser import option
from shelfmark.core.errors import UserError
from shelfmark.core.exit_codes import ExitCode
from shelfmark.core.text_safety import printable

PHOTOS = option("photos", "photographs, or folders of them", nargs="+", metavar="PHOTO")


class Answered(Protocol):
    """What a command found of one photograph, or why it could not be read."""

    @property
    def photo(self) -> str: ...

    @property
    def error(self) -> str | None: ...


def photos_of(args: argparse.Namespace) -> list[Path]:
    """The photographs; what looks like `key=value` and is no file joins args.overrides.

    UserError: there is none, or none of them exists. Where only some are missing the others are answered.
    """
    from shelfmark.config.overrides import parse_override

    photos = []
    for word in args.photos:
        if "=" in word and not Path(word).exists():
            args.overrides.append(parse_override(word))
        else:
            photos.append(Path(word))
    if not photos:
        raise UserError("no photograph is given.")
    require_one(photos, "a photograph")
    return photos


def status_of(answers: Sequence[Answered], warns: bool) -> ExitCode:
    """The command's exit status; a UserError if no photograph could be read.

    warns: name what could not be read on standard error; tables say it themselves.
    """
    from shelfmark.data.bad_images import require_some_read

    unread = {answer.photo: answer.error for answer in answers if answer.error is not None}
    require_some_read(sum(answer.error is None for answer in answers), unread)
    for photo, reason in unread.items() if warns else ():
        print(printable(f"warning: {photo} could not be read: {reason}", one_line=True), file=sys.stderr)
    return ExitCode.UNREADABLE if unread else ExitCode.DONE
