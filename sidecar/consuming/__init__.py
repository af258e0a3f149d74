"""The thread that owns a lambda's Consumer, and all that it owns."""
