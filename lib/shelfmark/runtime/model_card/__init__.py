"""The model card: README.md in a checkpoint's folder."""
