"""The parts that commands share: a trained model, its features, the splits of a run, scores and recalibrations."""
