"""Small ranks files that stand in for those of published encodings."""

import hashlib

from llm_assets.model.encoding import PUBLISHED, Encoding, Published, write_ranks
from llm_assets.tokens.tokenizer import train
from tests.support.tiny_models import TEXTS


def stand_in_ranks(patch, cache, **sizes):
    """Make `cache` tiktoken's, with ranks of so many tokens for each encoding that is named; the encodings, by name."""
    patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    encodings = {}
    for name, size in sizes.items():
        pattern = PUBLISHED[name].pattern
        ranks = train(TEXTS, size).ranks
        data, url = write_ranks(ranks), f"https://example.org/{name}"
        (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(data)
        patch.setitem(PUBLISHED, name, Published(url, hashlib.sha256(data).hexdigest(), pattern, len(ranks)))
        encodings[name] = Encoding(name, pattern, ranks)
    return encodings
