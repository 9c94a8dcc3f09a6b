"""Generalization studies in ptychography: how many patterns a network needs for data it has not seen."""

__version__ = "0.1.0"
