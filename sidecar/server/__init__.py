"""All that touches gRPC: the contract's services, their streams, and who may call. Runs on the event loop."""
