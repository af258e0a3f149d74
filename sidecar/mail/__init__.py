"""What joins a lambda's consumer thread and the event loop: two boxes, and the letters that go through them."""
