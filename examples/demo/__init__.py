"""The demo: a sidecar with a broker of its own, deli as its lambda, and simulated writers of documents, live.

`demo.yaml` beside this folder is the sidecar's config. The rest is in these files:

- `session.py` and `run.py` start everything, watch it, and end it; they start the parts in `sidecar_process.py`,
  `traffic.py` and `stream.py`
- `writer.py` is a simulated writer, `text.py` a document's text, `documents.py` reads the sequenced stream and checks
  it; `boxcars.py` makes the records
- `picture.py`, `rows.py` and `pieces.py` make text of numbers, `events.py` of changes

All but the first five start nothing, and are tested by themselves. `examples/pipeline` uses most of it.
"""
