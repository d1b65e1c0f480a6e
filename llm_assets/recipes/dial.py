"""Ready recipes. A user's own: copy one into a file, change a few fields, name it in LLM_ASSETS_RECIPE."""

from __future__ import annotations

from collections.abc import Callable

from .recipe import Model, Pretraining, Recipe, Recrawl, SampleWeb, Tokenizer, TokenShards


def laptop() -> Recipe:
    """The embedded default: the sample web, in minutes on two cores."""
    return Recipe(
        name="laptop",
        crawls={"sample": SampleWeb()},
        tokenizer=Tokenizer(vocabulary=2048),
        token_shards=TokenShards(shard_tokens=1 << 18),
        model=Model(depth=4, width=128, context=256, tied=True),
        pretraining=Pretraining(tokens=2_400_000, batch_tokens=4096),
        recrawls=(Recrawl(prefix="sample", cron="0 3 * * 1", source=SampleWeb(day=2)),),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"laptop": laptop}
