"""Generalization studies in ptychography: how many patterns does a network need?"""

__version__ = "0.1.0"
