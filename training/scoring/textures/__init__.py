"""The judge of textures: how near they are to their painting, and whether they copy it."""
