"""Bytes from anywhere: decoders fed with mutations, and live sockets fed with garbage."""
