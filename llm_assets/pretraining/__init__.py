"""Pretraining: the base model and its evaluation."""
