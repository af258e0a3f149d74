"""`python -m sidecar` is `kafka-sidecar`."""

from sidecar.cli import main

if __name__ == "__main__":
    main(prog_name="kafka-sidecar")
