"""Floor 1: YAML files, `key=value` overrides and the 2020 flags into one typed tree that knows its sources.

The tree itself stands in `shelfmark.recipe.tree`; everything here takes it as an argument.
"""
