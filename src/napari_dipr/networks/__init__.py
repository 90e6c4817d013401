"""Networks that propose an object from a measurement's autocorrelation: architectures, shipped models, proposals."""
