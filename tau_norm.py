"""Recalibrate a model: the door that users of 2020 know. `python tau_norm.py --help` lists what it takes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

from shelfmark.cli import main

if __name__ == "__main__":
    sys.exit(main(["tau-norm", *sys.argv[1:]]))
