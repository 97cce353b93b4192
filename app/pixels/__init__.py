"""Images: file formats, colours, sizes."""
