"""Rendered people in motion with exact truth: training windows, and clips to test with.

World: metres, y up, the ground at y = 0. Rest pose: arms stretched sideways, facing +z, so that +x is the person's left.
Camera: x right, y down, z forward. Pixels as everywhere in posecli: the centre of the top-left pixel is (0, 0).
"""
