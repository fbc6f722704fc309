"""Command lines of other code bases, one file a dialect: what each flag sets, or why it sets nothing.

PNPloss (`pnp`), Smooth_AP (`smoothap`), FastRetri (`fastretri`), and PSS with Hi-LANDER (`pss`). A flag that is not
typed has the default of the original. That is not always the value in the recipe: recipes have the values of the
published commands.
"""
