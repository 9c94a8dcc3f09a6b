"""Simulated scans of known objects, as datasets."""
