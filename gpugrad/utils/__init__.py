"""Utilities under PyTorch's names."""
