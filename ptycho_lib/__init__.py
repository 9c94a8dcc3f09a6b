"""Generalization studies in ptychography: how many patterns a network needs for data it has not seen.

The functions that most scripts need, and the subpackages, are imported when they are first used (SPEC 1): the import of
`ptycho_lib` takes milliseconds and does not load TensorFlow. `__init__.pyi` lists them.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
