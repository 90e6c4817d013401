"""The physics, once: forward model, symmetries, metrics. Everything works on ``[batch, *grid]`` tensors."""
