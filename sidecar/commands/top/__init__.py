"""`kafka-sidecar top`: the partitions live in a terminal. `model` is pure; `app` and `screens` draw with Textual."""
