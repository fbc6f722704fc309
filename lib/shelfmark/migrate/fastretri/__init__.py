"""FastRetri: train_net.py, with a file of values, flags, and KEY VALUE behind the flags."""
