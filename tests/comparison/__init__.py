"""Compares our deli and document router with the published JavaScript packages that they are ports of.

``python -m tests.comparison`` plays random sessions on both. ``--record`` writes sessions with the published
packages' answers to `tests/recorded`; the unit tests play those without Node.
"""
