"""Letters for names of any script: the fonts that have them, and what is written where no font has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.core.text_safety import printable

_FIRST = "DejaVu Sans"  # comes with matplotlib; has Latin, Cyrillic, Greek, Arabic, Hebrew
# By readability at small sizes; within a line, any other font of the system comes last.
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
    families, lacking = [_FIRST], needed - _letters_of(_font_file(_FIRST))
    if lacking:
        for family, file in _system_fonts():
            found = lacking & _letters_of(file)
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


def _system_fonts() -> Iterator[tuple[str, Path]]:
    """Upright fonts of ordinary weight: family and file, the preferred first."""
    from matplotlib import font_manager, get_data_path

    manager = font_manager.fontManager
    known = {font.fname for font in manager.ttflist}
    # matplotlib remembers the fonts of its first run; one that was installed since then is not among them.
    for file in sorted(set(font_manager.findSystemFonts()) - known):
        _add(manager, file)
    # matplotlib's own ones are for formulas, and have other signs in the places of letters.
    own = get_data_path()
    families = {
        font.name
        for font in manager.ttflist
        if font.style == "normal"
        and str(font.weight) in ("400", "normal", "regular")
        and not font.fname.startswith(own)
    }
    for family in sorted(families, key=lambda name: (_rank(name), name)):
        file = _font_file(family)
        if file is not None:
            yield family, file


def _add(manager: Any, file: str) -> None:
    try:
        manager.addfont(file)
    except Exception:  # a font of a kind that matplotlib cannot draw with
        return


def _rank(family: str) -> int:
    return next((rank for rank, start in enumerate(_PREFERRED) if family.startswith(start)), len(_PREFERRED))


def _font_file(family: str) -> Path | None:
    """The file that matplotlib draws with when it is asked for the family."""
    from matplotlib import font_manager

    try:
        return Path(font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False))
    except ValueError:
        return None


def _letters_of(file: Path | None) -> set[str]:
    if file is None:
        return set()
    from matplotlib.font_manager import get_font

    try:
        return {chr(code) for code, glyph in get_font(str(file)).get_charmap().items() if glyph}
    except Exception:  # a damaged font file
        return set()
