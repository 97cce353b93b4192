"""Training: recipes, data, networks, losses, the loop and its checkpoints."""
