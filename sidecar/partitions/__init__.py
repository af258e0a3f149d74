"""The pure core: the life of the partitions of one lambda. No I/O, no thread, no clock."""
