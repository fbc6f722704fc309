"""Letters for names of any script: the fonts that have them, and what is written where no font has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from shelfmark.core.text_safety import printable
from shelfmark.reports.figures import font_letters, system_fonts

_FIRST = "DejaVu Sans"  # comes with matplotlib; has Latin, Cyrillic, Greek, Arabic, Hebrew
# Families that begin so come before any other font of the system.
_PREFERRED = ("Noto Sans", "Source Han Sans", "WenQuanYi", "Droid Sans", "Arial Unicode", "Microsoft YaHei", "Hiragino")
_LEFT_TO_RIGHT = "\N{LEFT-TO-RIGHT MARK}"
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_SOUND = re.compile(r"(?:LETTER|SYLLABLE)(?: SMALL)? ([A-Z]+)$")
_UNKNOWN = "?"


@dataclass(frozen=True)
class Lettering:
    """families: the fonts to draw with, each for the letters that those before it lack. lacking: letters of none."""

    families: tuple[str, ...]
    lacking: frozenset[str]

    def name(self, name: str, number: int) -> str:
        """The class's name; of one whose letters no font has, the number with what ASCII can say of the name."""
        name = _cleaned(name)
        if not self.lacking.intersection(name):
            return name
        letters = "".join(_in_ascii(one) if one in self.lacking else one for one in name)
        said = re.sub(r"\?[? ]*\?", _UNKNOWN, letters).strip()
        return f"#{number}" if said == _UNKNOWN else f"#{number} {said}"


def lettering(names: Iterable[str]) -> Lettering:
    """The fonts for the letters of all names. They are looked for among the system's only if the usual one does not do.

    A right-to-left name is laid out by matplotlib; `after_mark` keeps what stands before it on its left.
    """
    needed = {letter for name in names for letter in _cleaned(name)} | set("?#0123456789")
    families, lacking = [_FIRST], needed - font_letters(_FIRST)
    if lacking:
        for family in sorted(system_fonts(), key=lambda name: (_rank(name), name)):
            found = lacking & font_letters(family)
            if found:
                families.append(family)
                lacking -= found
            if not lacking:
                break
    return Lettering(tuple(families), frozenset(lacking))


def after_mark(mark: str, name: str) -> str:
    """The mark and the name, in this order from left to right, whichever way the name is read."""
    return f"{_LEFT_TO_RIGHT}{mark} {name}"


def _cleaned(name: str) -> str:
    """One line of composed letters, without marks that are not drawn; those that join letters stay."""
    name = unicodedata.normalize("NFC", name)
    return printable("".join(one for one in name if one in _JOINERS or not _is_silent(one)), one_line=True)


def _is_silent(letter: str) -> bool:
    return unicodedata.category(letter) == "Cf" or "\N{VARIATION SELECTOR-1}" <= letter <= "\N{VARIATION SELECTOR-16}"


def _in_ascii(letter: str) -> str:
    if unicodedata.category(letter) in ("Lm", "Mn", "Mc"):  # a mark on, or behind, another letter
        return ""
    base = "".join(one for one in unicodedata.normalize("NFKD", letter) if one.isascii() and one.isprintable())
    sound = _SOUND.search(unicodedata.name(letter, ""))
    return base or (sound[1].lower() if sound else _UNKNOWN)


def _rank(family: str) -> int:
    return next((rank for rank, start in enumerate(_PREFERRED) if family.startswith(start)), len(_PREFERRED))
