"""From the 2D keypoints of a track to 3D joints: PoseMamba (arXiv 2408.03540)."""
