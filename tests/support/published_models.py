"""Small models of each published architecture with random weights, as transformers saves them, and their tokenizers.

The tokenizers are trained here, and have the split pattern, normaliser, special tokens and layout of ids of the
published ones.
"""

import json

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_REGEX, LLAMA3_REGEX = WORDS + r"\p{N}" + REST, WORDS + r"\p{N}{1,3}" + REST
TEXTS = [
    "The quick brown fox doesn't jump over the lazy dog's 12 fences, they're 345 metres high.\n",
    "Une élève étudie à l'école.  Es wären 1.234,5 Grad.\r\n\r\n\tdef f(x):\n        return x ** 2  # don't\n",
    "日本語のテキスト, русский текст, العربية ١٢٣ ½ ²\n \n  Ⅷ \u00a0 wide\u3000space\n",
    "I'LL say it's what we'd have; HE'S 2026-11-26 12:00:00.000 <tool_call> {'a': [1, 22, 333, 4444]}\n",
] * 3


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(regex, behavior="isolated", invert=False):
    pattern = pre_tokenizers.Split(Regex(regex), behavior, invert)
    return pre_tokenizers.Sequence([pattern, byte_level(False)])


PRE_TOKENIZERS = {
    "qwen3": lambda: split(QWEN2_REGEX),
    "qwen2": lambda: split(QWEN2_REGEX),
    "llama": lambda: split(LLAMA3_REGEX),
    "smollm2": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
    "olmo2": lambda: split(LLAMA3_REGEX, "removed", True),
    "gpt2": lambda: byte_level(True),
}
SPECIAL = {
    "qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama": ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
    "smollm2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"],
    "olmo2": ["<|endoftext|>", "<|pad|>"],
    "gpt2": ["<|endoftext|>"],
}
FAMILIES = tuple(PRE_TOKENIZERS)


def trained_tokenizer(family, vocabulary=600, texts=TEXTS):
    """A `tokenizers.Tokenizer` as the family publishes it. SmolLM2's special tokens have the first ids."""
    tokenizer = Tokenizer(models.BPE())
    if family in ("qwen2", "qwen3"):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[family]()
    tokenizer.decoder = decoders.ByteLevel()
    first = SPECIAL[family] if family == "smollm2" else []
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=first,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL[family]])
    if family == "qwen3":
        tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in ("<tool_call>", "<think>")])
    values = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(as_tiktoken(values) if family == "llama" else values))


def as_tiktoken(values):
    """A tokenizer.json with all splits of each token as merges, and pieces taken as a whole, as Llama 3 has it."""
    vocabulary = values["model"]["vocab"]
    merges = []
    for token, _ in sorted(vocabulary.items(), key=lambda item: item[1]):
        cuts = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        pairs = [pair for pair in cuts if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += sorted(pairs, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    values["model"].update(merges=[list(pair) for pair in merges], ignore_merges=True)
    return values


def small_config(family, vocabulary, **changes):
    """A transformers configuration of the family: grouped-query attention, two layers."""
    import transformers

    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    tied = {"qwen3": False, "qwen2": True, "llama": False, "smollm2": True, "olmo2": False}
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    kinds = {
        "qwen3": (transformers.Qwen3Config, {"head_dim": 16}),
        "qwen2": (transformers.Qwen2Config, {}),
        "llama": (transformers.LlamaConfig, {"rope_parameters": scaling, "rms_norm_eps": 1e-5}),
        "smollm2": (transformers.LlamaConfig, {"rms_norm_eps": 1e-5}),
        "olmo2": (transformers.Olmo2Config, {}),
    }
    if family == "gpt2":
        return transformers.GPT2Config(
            **{"vocab_size": vocabulary, "n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4, **changes}
        )
    kind, special = kinds[family]
    return kind(**{**sizes, "tie_word_embeddings": tied[family], **special, **changes})


def random_model(config, seed=0):
    """A model of transformers with random weights, norms and biases included, so that none of them can go unnoticed."""
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write_published(folder, family, vocabulary=600, spare_rows=0, texts=TEXTS, shard_size=None, **changes):
    """Write a folder as the hub has it; returns the model of transformers and its tokenizer.

    spare_rows: rows of the embedding above the last id.
    """
    tokenizer = trained_tokenizer(family, vocabulary, texts)
    rows = max(tokenizer.get_vocab().values()) + 1 + spare_rows
    model = random_model(small_config(family, rows, **changes))
    model.save_pretrained(folder, **({"max_shard_size": shard_size} if shard_size else {}))
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"bos_token": SPECIAL[family][0]} if family != "qwen2" else {"eos_token": SPECIAL[family][0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return model, tokenizer
