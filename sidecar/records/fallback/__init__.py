"""The same in Python, where the extension cannot be built: correct, and the extension's oracle in tests."""
