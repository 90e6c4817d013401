"""Many patterns, solved in worker processes on this machine or on a cluster."""
