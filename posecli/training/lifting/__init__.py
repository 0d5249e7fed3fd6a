"""Training of the lifter from 2D to 3D: recorded motion, cameras, noise, and the loop."""
