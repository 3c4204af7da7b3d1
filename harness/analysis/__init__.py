"""Analysis of frames: growth, crossovers, and the comparison of two runs."""
