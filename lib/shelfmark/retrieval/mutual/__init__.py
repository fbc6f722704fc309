"""An exact search of images among themselves, which multiplies each pair once."""
