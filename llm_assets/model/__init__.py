"""The neural network: shapes, tokenizer, transformer, checkpoints, chat protocol, sampling.

Imports torch, numpy, safetensors and tiktoken only, so that it runs unchanged where nothing else is installed. Importing
the package itself, its shapes and its devices imports none of them.
"""

# The file beside a reward model's weights that tells mean and deviation of its scores.
REWARD_SCALE = "reward.json"
# A target that bears no loss.
IGNORE = -1
