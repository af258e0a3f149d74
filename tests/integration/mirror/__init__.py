"""The cases of the conformance kit the other way round: a scripted client against the real sidecar.

- `client.py`, `stream.py`: the client, and its trace, which the kit's own invariants and `HostSide` read.
- `lives.py`, `work.py`, `edges.py`: scripts, with the cases that each mirrors (`table.py`).
- `reasons.py`: why the other cases have no script here.
"""
