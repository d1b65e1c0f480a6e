"""Finetuning: from a base model to an assistant."""
