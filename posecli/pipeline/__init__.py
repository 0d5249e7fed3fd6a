"""Where the stages meet: a video in, poses out."""
