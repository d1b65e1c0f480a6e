"""Token shards written by hand, of documents that a test chooses."""

import numpy as np

from llm_assets.training.shards import ShardWriter


def write_shards(folder, documents, shard_tokens, split="train", dtype=np.uint16):
    """Write the documents as shards of `shard_tokens` tokens; the names of the files, relative to `folder`."""
    folder.mkdir(exist_ok=True, parents=True)
    writer = ShardWriter(folder, split, dtype, shard_tokens)
    for document in documents:
        writer.append(np.asarray(document, dtype), np.array([len(document)]))
    return writer.close()
