"""A trained network at work: on a new scan, on a scan that is being measured, and trained on for it."""
