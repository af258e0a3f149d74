"""Tests of the gRPC side: a real server, a real client, and a stand-in for the consumer threads."""
