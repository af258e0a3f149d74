"""Our deli and our document router against the published ones they are ports of: random sessions, played on both.

``python -m tests.comparison`` compares; ``--record`` writes the sessions with the published one's answers into
`tests/recorded`, from where the unit tests play them without Node.
"""
