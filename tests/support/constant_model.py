"""A model that gives one answer to everything, in place of a sampling engine."""

from llm_assets.model.chat import encode_text
from llm_assets.model.sampling import Completion
from tests.support.tiny_models import ENCODING


class ConstantModel:
    """Answers every prompt with the same text, greedily or sampled, and ends its turn."""

    encoding = ENCODING

    def __init__(self, text: str):
        self.tokens = encode_text(ENCODING, text)

    def fitting_batch(self, prompts, max_tokens, tools=False):
        return len(prompts)

    def complete(self, prompts, sampling, samples=1, batch=64, tools=None):
        count = len(self.tokens)
        return [Completion(self.tokens, [0.0] * count, "stop", [False] * count) for _ in range(len(prompts) * samples)]
