"""Deliberate faults, one by one, and what notices each: whether the tests would find a bug (`bin/mutants`)."""
