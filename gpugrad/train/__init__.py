"""Training jobs behind ``gpugrad train``: the loops, their progress and what they leave behind."""
