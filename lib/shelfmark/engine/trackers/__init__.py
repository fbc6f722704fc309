"""Programs that show a run's numbers beside those of other runs. Off unless `output.trackers` names them."""
