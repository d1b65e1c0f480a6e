"""What every training shares: data order, optimiser, loop, policy gradient, and a training as a step's work."""
