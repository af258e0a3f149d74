"""The page at `/`: what the sidecar does now, for people, and what they can do about it.

It renders the answers of the admin contract (`proto/admin.proto`), and what `sidecar.dead_letters` reads from Kafka.
Its files are in `static/`: written by hand, served as they are.
"""
