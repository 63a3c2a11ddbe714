"""A walk through a real cluster: rows, nodes that come, die and go, and a hot spot, with pictures."""
