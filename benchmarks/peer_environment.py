"""An environment for a peer's package, which borrows all else from this Python."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path


def python_with(package: str, folder: Path) -> Path:
    """The Python of the environment in `folder`, made once.

    package: as pip takes it, such as fastai==2.8.12; several with blanks between them.
    """
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        venv.create(folder, with_pip=True, clear=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "borrowed.pth").write_text("\n".join(one for one in sys.path if "site-packages" in one))
        installer = [str(python), "-m", "pip"]
        subprocess.run([*installer, "install", "--quiet", *package.split()], check=True)
        (folder / "installed").touch()
    return python
