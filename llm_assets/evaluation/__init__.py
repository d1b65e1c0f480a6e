"""What the evaluations share: answering with a model, grading answers, and running an evaluation as a step."""
