"""The live kernel: what it does beside what the model says, what its operations cost, and what its sources contain."""
