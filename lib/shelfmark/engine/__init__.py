"""The training loop and what it keeps: it acts on objects that it is given."""
