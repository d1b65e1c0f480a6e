"""What all trainings share: order of the data, the training step, loops, policy optimisation, and training as a stage."""
