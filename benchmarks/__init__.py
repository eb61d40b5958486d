"""Measurements: throughput against other libraries, and the scripts behind published constants."""
