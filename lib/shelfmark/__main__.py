"""`python -m shelfmark COMMAND`, the same as `shelfmark COMMAND`."""

import sys

from shelfmark.cli import main

sys.exit(main())
