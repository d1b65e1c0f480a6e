"""Taste: what people prefer, a reward model of it, and a policy tuned to that with a monitor."""
