"""The same in Python, used where the extension cannot be built, and as the extension's oracle in tests."""
