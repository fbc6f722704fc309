"""Command lines of other code bases, one file a dialect: flag -> the overrides that it means, or why it means none.

PNPloss (`pnp`), Smooth_AP (`smoothap`), FastRetri (`fastretri`), and PSS with Hi-LANDER (`pss`). A flag that is not
typed has the default of the original, which is not always the recipe's: the recipes have the values of the published
commands.
"""

from shelfmark.migrate.command import override_text, shell_word
from shelfmark.migrate.fastretri import FASTRETRI, FASTRETRI_FLAGS
from shelfmark.migrate.flags import Old
from shelfmark.migrate.hilander import HILANDER, HILANDER_TEST
from shelfmark.migrate.pnp import PNP
from shelfmark.migrate.pss import PSS, PSS_CHECKPOINT, PSS_LATER
from shelfmark.migrate.smoothap import SMOOTH_AP, SMOOTH_AP_EVALUATION
from shelfmark.migrate.table import DIALECTS, translate
from shelfmark.migrate.translation import RUN_FOLDER, Translation

__all__ = [
    "DIALECTS",
    "FASTRETRI",
    "FASTRETRI_FLAGS",
    "HILANDER",
    "HILANDER_TEST",
    "PNP",
    "PSS",
    "PSS_CHECKPOINT",
    "PSS_LATER",
    "RUN_FOLDER",
    "SMOOTH_AP",
    "SMOOTH_AP_EVALUATION",
    "Old",
    "Translation",
    "override_text",
    "shell_word",
    "translate",
]
