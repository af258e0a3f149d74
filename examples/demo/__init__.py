"""The demo: a sidecar with a broker of its own, deli as its lambda, and people who write documents, live.

`demo.yaml` beside this folder is the sidecar's config. The rest is in these files:

- `session.py` and `run.py` start everything, look on, and end it; `sidecar_process.py`, `traffic.py` and `stream.py`
  are what they start
- `writer.py` is a simulated writer, `text.py` a document's text, `documents.py` what the sequenced stream says and
  whether it can be true; `boxcars.py` makes the records
- `picture.py`, `rows.py` and `pieces.py` make text of numbers, `events.py` of changes

All but the first five start nothing, and are tested without anything. `examples/pipeline` uses most of it.
"""
