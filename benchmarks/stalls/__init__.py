"""Where a record's time goes when all partitions stand still for a moment, at a low rate: see `__main__`."""
