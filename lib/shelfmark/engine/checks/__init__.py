"""Checks of a training before it runs: whether it can learn one batch, and at which rates it learns."""
