"""One flow a file: what a command does, from its options to its files."""
