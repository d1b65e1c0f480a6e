"""The neural network: shapes, transformer, training loop, checkpoints, sampling.

Imports torch, numpy, safetensors and tiktoken only, so that it runs unchanged where nothing else is installed. Importing
the package itself, its shapes and its devices imports none of them.
"""

# The file in which a training process tells its events, beside its job.
PROGRESS = "progress.jsonl"
# The file in which an evaluation's process leaves what it found.
RESULTS = "results.json"
# The file beside a reward model's weights that tells mean and deviation of its scores.
REWARD_SCALE = "reward.json"
