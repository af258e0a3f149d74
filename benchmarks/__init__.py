"""Compares the project with a bare consumer loop on one machine: ``python -m benchmarks``."""
