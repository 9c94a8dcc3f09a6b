"""Checks of a file, and of a pair: what the dataset contract asks, and whose conventions a file follows."""
