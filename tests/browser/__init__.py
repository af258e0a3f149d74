"""The page in a browser: a real sidecar, real clicks. `screenshot.py` makes the picture of the README."""
