"""Floor 1: YAML files and `key=value` overrides into one typed tree that knows its sources.

The tree itself stands in `shelfmark.recipe.tree`; everything here takes it as an argument.
"""
