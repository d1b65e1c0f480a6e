"""Pretraining: the base model, and what it has learnt."""
