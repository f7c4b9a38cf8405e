"A task, a method and a file format for adaptive_dist, each in a file of its own."
