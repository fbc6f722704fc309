"""What the report of a run is made of: what the run stored, and what follows from its features."""
