"""The cases of the conformance kit the other way round: a scripted client against the real sidecar.

- `client.py`: the client, and its trace, which the kit's own invariants and `HostSide` read.
- `scripts.py`, `errors.py`, ...: by the name of a case, what its client does and what the sidecar has to answer.
- `reasons.py`: why the other cases have no script here.
"""
