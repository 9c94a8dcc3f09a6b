"""The diffraction experiment in numpy: objects, probes, scans, far-field patterns."""
