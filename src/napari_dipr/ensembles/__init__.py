"""Many starts of one measurement: whether they agree, on what, and how far out."""
