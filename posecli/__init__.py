"""posecli: turn video of people into pose annotations."""

__version__ = "0.1.0"
