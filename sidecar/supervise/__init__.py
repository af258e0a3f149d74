"""Lambda processes that the sidecar itself starts and keeps running."""
