"""Fitting: recipes, data, networks, losses, and the loop."""
