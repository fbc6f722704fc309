"""The report of a run, section by section: each takes what was found, and gives a section of the kit `reports.html`."""
