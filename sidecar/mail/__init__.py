"""The connection between a lambda's consumer thread and the event loop: two boxes, and the letters in them."""
