"""Compiled code: step and noise fused into one vectorised kernel for the CPU, by numba."""
