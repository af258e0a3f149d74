"""Those who watch a sidecar while it works: Prometheus, a browser with the page open, and `kafka-sidecar top`.

    python -m benchmarks.watching METRICS-AND-PAGE-ADDRESS

Scrapes each second and reads the page's events, until it is ended.
"""

import http.client
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.processes import ROOT, Sidecar

SCRAPE_INTERVAL_S = 1.0


@contextmanager
def watched(host: Sidecar, operate: str) -> Iterator[None]:
    """Watch the sidecar in all three ways. ``operate``: where it listens for operators' HTTP.

    The page is read as a browser reads it, without one that draws: that is the work of another machine.
    """
    reader = subprocess.Popen([sys.executable, "-m", "benchmarks.watching", operate], cwd=ROOT)
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "sidecar", "top", "--address", host.address]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    top = subprocess.Popen(command, stdin=other, stdout=other, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT)
    os.close(other)
    drain = threading.Thread(target=_read_all, args=(terminal,), daemon=True)
    drain.start()
    try:
        yield
        if reader.poll() is not None or top.poll() is not None:
            raise RuntimeError("a watcher ended before the run did")
    finally:
        for process in (reader, top):
            process.terminate()
            process.wait()
        drain.join(5)
        os.close(terminal)


def _read_all(terminal: int) -> None:
    """Take what the program draws, as a terminal does."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # the program has ended
        return


def main() -> None:
    """Scrape and read the page's events."""
    host, _, port = sys.argv[1].rpartition(":")
    threading.Thread(target=_read_events, args=(host, int(port)), daemon=True).start()
    while True:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/metrics")
        if connection.getresponse().read().count(b"\n") < 50:
            raise RuntimeError("the metrics are not what they should be")
        connection.close()
        time.sleep(SCRAPE_INTERVAL_S)


def _read_events(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    connection.request("GET", "/api/events", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    while response.readline():
        pass


if __name__ == "__main__":
    main()
