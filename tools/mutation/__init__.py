"""Mutation testing of the CUDA kernels: tools/mutate_kernels.py is the command."""
