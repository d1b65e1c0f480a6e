"""What every evaluation shares: asking models, grading answers, and an evaluation as a step's work."""
