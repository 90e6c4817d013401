"""From a detector's raw counts to a measurement: correct, leave out, centre, crop, bin."""
