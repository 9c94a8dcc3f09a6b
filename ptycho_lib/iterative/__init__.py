"""The rival without a network: iterative reconstruction. The only subpackage that imports PyTorch."""
