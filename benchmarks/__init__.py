"""The project measured against the bare alternative, side by side on one machine: ``python -m benchmarks``."""
