"""Floor 0: contracts, seeds, processes, files and the log. Imports with torch and numpy alone."""
