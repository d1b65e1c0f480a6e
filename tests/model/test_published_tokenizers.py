"""Tokenizers of published models: the ids of `tokenizers` for any text, and what cannot be read is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from llm_assets.model.encoding import SPECIAL_TOKENS, Encoding
from llm_assets.model.published_config import PublishedModelError
from llm_assets.model.published_tokenizer import read_tokenizer
from tests.support.published_models import FAMILIES, SPECIAL, TEXTS, trained_tokenizer, write_published

# Where split patterns differ: contractions, digits, white space before words, digits and line breaks, marks.
PIECES = [
    *("'s", "'S", "'LL", "'ſ", "don't", " it", "IT", "élève", "e\u0301", "\u212b", "日本", "ß", "ﬁ", "ǅ", "\u0301"),
    *("1", "22", "333", "4444", "١٢", "½", "²", "Ⅷ", "一", " 1", "  2", "a1b", "1st"),
    *(" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", " \n", "\n ", "   x"),
    *("!", "...", "<|", "|>", "<tool_call>", "<think>", "<thi", "_", "🙂", "👩\u200d🔬", "\u200d", "def f(x):", "\x00"),
]
ANY_TEXT = st.one_of(
    st.text(max_size=40),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map("".join),
    st.sampled_from(TEXTS),
)
_pairs = {}


def pair(family, tmp_path_factory):
    """The family's tokenizer, which does not look for special tokens in texts, and ours; read once."""
    if family not in _pairs:
        folder = tmp_path_factory.mktemp(family)
        write_published(folder, family)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        encoding = read_tokenizer(folder)
        encoding.save(folder)
        _pairs[family] = tokenizer, Encoding.load(folder)
    return _pairs[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_tokenizers(family, tmp_path_factory):
    tokenizer, encoding = pair(family, tmp_path_factory)

    @given(ANY_TEXT)
    def compare(text):
        ids = encoding.encode(text)
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids
        assert encoding.decode(ids) == encoding.normalise(text)
        assert encoding.encode_batch([text, ""]) == [ids, []]

    compare()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_id_has_the_text_that_tokenizers_gives_it(family, tmp_path_factory):
    tokenizer, encoding = pair(family, tmp_path_factory)
    for text, number in tokenizer.get_vocab().items():
        assert encoding.decode([number]) in (text, tokenizer.decode([number], skip_special_tokens=False))
    names = SPECIAL[family]
    assert all(tokenizer.token_to_id(name) not in encoding.text_ids for name in names)
    assert encoding.token_bytes[encoding.bos] == 0 and encoding.token_bytes.sum() > 1000


def test_added_tokens_that_are_not_special_are_found_in_texts(tmp_path_factory):
    _, encoding = pair("qwen3", tmp_path_factory)
    [number] = encoding.encode("<think>")
    assert number in encoding.text_ids and encoding.decode([number]) == "<think>"
    assert len(encoding.encode("<|im_start|>")) > 1  # a special token's name in a text is text


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_yields_a_token_of_the_protocol(family, tmp_path_factory):
    _, encoding = pair(family, tmp_path_factory)
    ids = encoding.encode(" ".join(SPECIAL_TOKENS) + " ".join(SPECIAL[family]))
    assert not set(ids) & set(encoding.special.values()) and len(set(encoding.special.values())) == len(SPECIAL_TOKENS)


def test_a_document_begins_with_the_token_that_the_model_knows(tmp_path_factory):
    for family in FAMILIES:
        tokenizer, encoding = pair(family, tmp_path_factory)
        assert encoding.document("a") == [tokenizer.token_to_id(SPECIAL[family][0]), *encoding.encode("a")]


def described(tokenizer):
    return json.loads(tokenizer.to_str())


def folder_of(tmp_path, values, rows=4096):
    config = {
        **{"model_type": "llama", "vocab_size": rows, "max_position_embeddings": 64, "hidden_size": 32},
        **{"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    return tmp_path


def words(merges, added=(), **model):
    """A tokenizer.json of all bytes and of these merges, in this order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    vocabulary |= {token: len(vocabulary) + place for place, token in enumerate(added)}
    bpe = {"type": "BPE", "vocab": vocabulary, "merges": [list(merge) for merge in merges], **model}
    tokenizer = Tokenizer.from_str(json.dumps({**described(Tokenizer(models.BPE())), "model": bpe}))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return described(tokenizer)


LETTERS = st.text("abc", min_size=1, max_size=4)


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=8), st.lists(LETTERS, max_size=3), st.booleans(), st.data())
def test_any_merges_give_the_same_ids_or_are_refused(tmp_path_factory, merges, whole, ignores, data):
    """Merges that no training would give, tokens without merges, and pieces that are taken as a whole."""
    known, usable = set("abc"), []
    for left, right in merges:
        if left in known and right in known:
            known.add(left + right)
            usable.append((left, right))
    added = [token for token in dict.fromkeys(whole) if token not in known]
    values = words(list(dict.fromkeys(usable)), added, ignore_merges=ignores)
    tokenizer = Tokenizer.from_str(json.dumps(values))
    try:
        encoding = read_tokenizer(folder_of(tmp_path_factory.mktemp("words"), values))
    except PublishedModelError as error:
        assert "order" in str(error)
        return
    for text in data.draw(st.lists(st.text("abc", max_size=9), min_size=5, max_size=20)):
        assert encoding.encode(text) == tokenizer.encode(text).ids


def test_trained_merges_are_never_refused(tmp_path):
    """The order of ids is that of merges in every file that training writes; a token without merges is left out."""
    values = words([("a", "b"), ("ab", "c")], added=["cab"])
    encoding = read_tokenizer(folder_of(tmp_path, values))
    assert encoding.unreachable == {b"cab": values["model"]["vocab"]["cab"]}
    assert encoding.encode("cab") == Tokenizer.from_str(json.dumps(values)).encode("cab").ids
    assert encoding.decode([values["model"]["vocab"]["cab"]]) == "cab"


def changed(**changes):
    """A trained tokenizer with changes: of top-level fields, or of the model by ``model__``."""
    values = described(trained_tokenizer("qwen2"))
    for name, value in changes.items():
        part, _, field = name.rpartition("__")
        (values[part] if part else values)[field] = value
    return values


def collision():
    values = changed()
    values["model"]["vocab"]["<|user_start|>"] = 4000
    return values


def unigram():
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, byte_fallback=True))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return described(tokenizer)


def limited_alphabet():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator(["ab ab"], trainers.BpeTrainer(show_progress=False))
    return described(tokenizer)


def normaliser(value):
    tokenizer = trained_tokenizer("llama")
    tokenizer.normalizer = value
    return described(tokenizer)


def token(content, number, **flags):
    return {"content": content, "id": number, "special": False, **flags}


REFUSED = {
    "sentencepiece unigram": (unigram, r"model\.type: 'Unigram' \(SentencePiece\)"),
    "byte fallback": (
        lambda: changed(model__byte_fallback=True),
        r"model\.byte_fallback: True is not implemented \(SentencePiece\)",
    ),
    "prepend": (
        lambda: normaliser(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])),
        r"normalizer: Prepend, Replace is not implemented; only NFC is; SentencePiece",
    ),
    "lower case": (lambda: normaliser(normalizers.Lowercase()), "normalizer: Lowercase is not implemented"),
    "prefix space": (
        lambda: changed(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}),
        "pre_tokenizer: .*'add_prefix_space': True.* is not implemented",
    ),
    "other pattern": (
        lambda: changed(
            pre_tokenizer=json.loads(json.dumps(changed()["pre_tokenizer"]).replace(r"\\p{N}|", r"\\p{N}{1,2}|"))
        ),
        "pre_tokenizer: the pattern .* is not one of those known here",
    ),
    "other decoder": (lambda: changed(decoder={"type": "Fuse"}), r"decoder\.type: 'Fuse', not 'ByteLevel'"),
    "missing byte": (limited_alphabet, r"model\.vocab: no token for the byte 0"),
    "collision": (collision, r"model\.vocab: '<\|user_start\|>' \(id 4000\) is an ordinary token"),
    "ids past the embedding": (
        lambda: changed(added_tokens=[token("<|x|>", 4096, special=True)]),
        r"the id 4096 of '<\|x\|>' passes the embedding, which has 4,096 rows \(config\.json: vocab_size\)",
    ),
    "an id twice": (lambda: changed(added_tokens=[token("<|x|>", 7)]), r"'\(' and '<\|x\|>' both have the id 7"),
    "two added tokens with an id": (
        lambda: changed(added_tokens=[token("<|x|>", 999), token("<|y|>", 999)]),
        r"added_tokens: '<\|x\|>' and '<\|y\|>' both have the id 999",
    ),
    "white space around an added token": (
        lambda: changed(added_tokens=[token("<mask>", 999, lstrip=True)]),
        "added_tokens: '<mask>' is part of texts and has single_word, lstrip or rstrip",
    ),
    "a merge of nothing": (
        lambda: changed(model__merges=[["a", "bbbbbb"]]),
        r"model\.merges\[0\]: \['a', 'bbbbbb'\] makes no token of vocab",
    ),
    "merges in another order": (
        lambda: changed(model__merges=changed()["model"]["merges"][::-1]),
        r"model\.merges\[1\]: .* is not in the order of ids",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_tokenizer_that_cannot_be_read_alike_is_refused(tmp_path, case):
    make, message = REFUSED[case]
    with pytest.raises(PublishedModelError, match=rf"tokenizer\.json: {message}"):
        read_tokenizer(folder_of(tmp_path, make()))


def test_a_sentencepiece_file_alone_is_refused_with_a_reason(tmp_path):
    folder_of(tmp_path, {})
    (tmp_path / "tokenizer.json").rename(tmp_path / "tokenizer.model")
    with pytest.raises(PublishedModelError, match=r"tokenizer\.model: a SentencePiece model; only byte-level BPE"):
        read_tokenizer(tmp_path)
