"""Images: file formats, colours, canvases. The only package that imports Pillow."""
