"""The flows of the commands, one a file: from a command's options to its files."""
