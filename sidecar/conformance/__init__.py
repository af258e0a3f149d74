"""Grades a client of the protocol: plays the sidecar by scripted cases, without Kafka.

::

    runner ── a case ──▶ program (the command under test) ──▶ front (connections) ──▶ host (gRPC)
                                                                                      │
    script (`cases/`) ◀──── stage: streams and calls to act on ◀──────────────────────┤
    report ◀── broken rules ◀── invariants ◀── trace: every frame and call ◀──────────┘

- `events.py`, `lives.py`, `invariants.py` and `rules.py` are pure: no I/O, task or clock. So is `host_side.py`: what
  a sidecar sends, this kit or the real one.
- `front.py` owns the address that the client dials; it can cut a connection, stand still, and come back.
- `host.py` is the gRPC service; `stage.py` is what a script sees of it, with `stream.py` and `desk.py` (the calls
  of a method). What a script does not answer itself is answered as the sidecar does (`answering.py`, `answers.py`).
- `cases/` has the cases by theme. `docs/conformance.md` describes the program under test.

Owner: one event loop. Several cases run on it at a time, each with a server and a process of its own.
"""
