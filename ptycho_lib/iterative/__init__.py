"""Iterative reconstruction, the comparison without a network; the only subpackage that imports PyTorch."""

import pkgutil

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, [module.name for module in pkgutil.iter_modules(__path__)])
