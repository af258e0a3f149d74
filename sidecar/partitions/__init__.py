"""The pure core: the states of one lambda's partitions. No I/O, no thread, no clock."""
