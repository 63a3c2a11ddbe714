"""A sharded, replicated, durable key-value store over ZeroMQ."""
