"""The gRPC server: the contract's services, their streams, and access control. Runs on the event loop."""
