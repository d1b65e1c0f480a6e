"""What the masks of documents cost on a GPU, as far as a CPU can tell."""

from functools import partial

import torch
from torch._dynamo.testing import CompileCounter

from llm_assets.model import attention
from llm_assets.model.attention import document_mask


def test_block_masks_of_all_batches_are_made_by_one_compiled_function(monkeypatch):
    torch._dynamo.reset()
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    compiled = attention._block_mask_maker.__wrapped__(True)
    monkeypatch.setattr(attention, "_block_mask_maker", lambda _: compiled)
    for seed in range(3):
        tokens = torch.randint(0, 20, (2, 256), generator=torch.Generator().manual_seed(seed))
        with torch.set_grad_enabled(seed > 0):  # in validation and in training
            document_mask(tokens, 0, blocks=True)
    assert counter.frame_count == 1
