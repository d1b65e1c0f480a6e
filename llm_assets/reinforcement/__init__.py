"""Reinforcement learning on problems whose answers can be checked: GRPO, as DeepSeek-R1 was trained."""
