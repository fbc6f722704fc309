"""Several processes: who starts them, and how one network is trained by all."""
