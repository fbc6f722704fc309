"""What the commands stand on: an opened model, its features, the splits of a run, scores and recalibrations."""
