"""Analysis of frames: growth, crossovers, claims, and the comparison of two runs."""
