"""The rival without a network: iterative reconstruction. The only wing that imports PyTorch."""
