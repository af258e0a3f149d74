"""Tests of the gRPC server: a real server, a real client, and a fake of the consumer threads."""
