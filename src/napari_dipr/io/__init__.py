"""Files: measurements come in (``read``), reconstructions go out (``write``) with what made them (``provenance``)."""
