"""The neural network: shapes, tokenizer, transformer, checkpoints, chat protocol, sampling.

Imports only torch, numpy, safetensors and tiktoken, so that it runs where nothing else is installed. Importing the
package itself, `shape` or `devices` imports none of these.
"""

# The file next to a reward model's weights with the mean and standard deviation of its scores.
REWARD_SCALE = "reward.json"
# The target of tokens without a loss.
IGNORE = -1
