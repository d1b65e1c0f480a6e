"""Token shards written by hand, of documents that a test chooses."""

import numpy as np

from llm_assets.training.shards import ShardWriter


def write_shards(folder, documents, shard_tokens, split="train", dtype=np.uint16):
    """Write documents (lists of tokens) as one split; returns the names of its files."""
    folder.mkdir(exist_ok=True, parents=True)
    writer = ShardWriter(folder, split, dtype, shard_tokens)
    for document in documents:
        writer.append(np.asarray(document, dtype), np.array([len(document)]))
    return writer.close()
