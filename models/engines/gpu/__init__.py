"""Engines for GPUs, and the kernels they bring."""
