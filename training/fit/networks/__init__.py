"""Transform networks: one interface, a layout a file.

transform  the interface: an image and a style vector in, an image out
johnson    the layout of Johnson et al. 2016, the reference
compact    works at a quarter and an eighth of the resolution, many times faster
layout     layouts as data, and the network that each describes
styled     a network with the style vectors that are fitted with it
"""
