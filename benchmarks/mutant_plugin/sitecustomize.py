"""Starts the record of the lines that run, in every Python process of a recorded run of the tests.

mutant_reach.py puts this folder on PYTHONPATH and sets COVERAGE_PROCESS_START. Without that nothing happens here.
"""

import os
from pathlib import Path

NOW = "MUTANTS_TEST_NOW"
"""The variable that names a file; the file holds the test or the fixture that runs now."""

if "COVERAGE_PROCESS_START" in os.environ:
    import coverage

    def charge_to_the_test() -> None:
        """A new process works for the test that runs now. A server that forks it may have started in an earlier one."""
        current = coverage.Coverage.current()
        place = os.environ.get(NOW)
        if current is not None and place and Path(place).is_file():
            current.switch_context(Path(place).read_text(encoding="utf-8"))

    coverage.process_startup()
    charge_to_the_test()
    # After coverage's own step, which starts a new record in the child.
    os.register_at_fork(after_in_child=charge_to_the_test)
