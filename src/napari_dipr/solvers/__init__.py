"""Iterative solvers: one-step algorithms, and the run that drives them."""
