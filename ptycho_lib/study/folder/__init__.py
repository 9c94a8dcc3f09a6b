"""What a study folder holds: manifest, records, locks, progress, status."""
