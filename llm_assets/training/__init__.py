"""What all training stages share: data order, the training step, loops, policy optimisation, training as a stage."""
