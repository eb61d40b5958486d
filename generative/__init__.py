"""Generative models on top of sdekit's public names."""
