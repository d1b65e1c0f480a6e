"""Fine-tuning: from a base model to an assistant."""
