"""The window: one state per viewer, the thread work, and one panel a file."""
