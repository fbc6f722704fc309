"""The training loop, its state, its hooks and its checkpoints. It acts on objects that it is given."""
