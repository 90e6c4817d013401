"""Iterative solvers: one-step algorithms, and the run that drives them."""

# Of a preset, where nobody says how many: HIO with a fair support has settled by then.
ITERATIONS = 300
