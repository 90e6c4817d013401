"""Training: objects, losses, and the loop that writes a model's weights."""
