"""Answers with a promise: rules that decide, thresholds for them, and exact bounds of what they do. numpy alone."""
