"""Preference tuning: rankings of answers, a reward model, a policy tuned to it, and an over-optimisation monitor."""
