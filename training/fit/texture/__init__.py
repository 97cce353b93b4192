"""Fits of texture generators: paintings in, textures of any size from noise out."""
