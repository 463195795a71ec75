"""Tokenizers: the same ids in Python and in the graph, and the text back from them."""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.text import tokenization, unicode
from pipelines.text.graph import Normalizer, TokenizerGraph
from pipelines.text.tokenization import BEGIN, END, PADDING, SPECIAL, TOKENIZERS, UNKNOWN, Tokenizer

TEXTS = (
    "The lobster isn't blue; it's well-known, 3.14 times 1,000 metres away!\n",
    "L’été, à Pâques, Zoë a vu un œuf — “vraiment” ? İstanbul, ΣΊΣΥΦΟΣ.",
    "हिन्दी में 👍🏽 한국어 東京都 עברית ❤️ e\u0301\u0323 \\n \\ <unk> </s> ##ing",
)

# Any text; and text full of what is hard: marks without a base or in the wrong order, Jamo,
# surrogates, joiners, every kind of space, words that are nearly known.
HARD = "ab'’-.,1٣½_ \n\r\t\x00\x1c\x85\u00a0\u2028é\u0301\u0323\u0327\u0345\u200d"
HARD += "\u0130ΣςᾼÅ\uac00\uac01\u1100\u1161\u11a8\u0bc6\u0bbe\ud800"
ANY = st.one_of(
    st.text(max_size=30),
    st.text(HARD, max_size=30),
    st.lists(st.sampled_from(re.findall(r"\w+|\W", " ".join(TEXTS)))).map("".join),
    st.binary(max_size=20),
)
QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_GRAPHS: dict[tuple[str, bool], tuple[Tokenizer, TokenizerGraph]] = {}


def fitted(tokens: str, lowercase: bool) -> tuple[Tokenizer, TokenizerGraph]:
    """A tokenizer of the texts above, and its graph, both made once."""
    if (tokens, lowercase) not in _GRAPHS:
        made = tokenization.tokenizer(tokens, 150, lowercase=lowercase).fit(TEXTS)
        _GRAPHS[tokens, lowercase] = made, made.graph()
    return _GRAPHS[tokens, lowercase]


def in_bytes(text: str | bytes) -> bytes:
    """A text as a server gets it; lone surrogates become bytes that are no UTF-8."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def rows(encoded: tuple[tf.Tensor, tf.Tensor]) -> list[list[int]]:
    """What a graph gave, without padding, which must be zeros."""
    ids, lengths = (tensor.numpy() for tensor in encoded)
    assert all((row[length:] == PADDING).all() for row, length in zip(ids, lengths, strict=True))
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def without_spaces(text: str) -> str:
    """A text up to whitespace."""
    return "".join(text.split())


@pytest.mark.parametrize(
    ("tokens", "lowercase"),
    [("characters", False), ("words", True), ("whitespace", False), ("subwords", True)],
)
@given(texts=st.lists(ANY, max_size=4))
@QUICK
def test_graph_encodes_as_python_does(tokens: str, lowercase: bool, texts: list) -> None:
    """No skew between training and serving, on any text and any bytes."""
    made, graph = fitted(tokens, lowercase)
    served = rows(graph(tf.constant([in_bytes(text) for text in texts], tf.string, [len(texts)])))
    assert served == [made.encode(in_bytes(text)) for text in texts]


@pytest.mark.parametrize("lowercase", [False, True])
def test_graph_normalizes_every_character(lowercase: bool) -> None:
    """Each code point alone, and decomposed after another mark, as Python's own tables say."""
    texts = [
        prefix + unicodedata.normalize("NFD", chr(code))
        for prefix in ("", "e\u0323\u0301")
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")
    ]
    graph = tf.function(Normalizer(lowercase), autograph=False)
    served = tf.strings.unicode_encode(graph(tf.constant(texts)), "UTF-8").numpy()
    expected = [unicode.normalize(text, lowercase).encode() for text in texts]
    assert served.tolist() == expected


@given(text=ANY, lowercase=st.booleans())
@QUICK
def test_normal_form_is_one(text: str | bytes, lowercase: bool) -> None:
    """Spellings that look alike are encoded alike, and normalized text stays as it is."""
    normal = unicode.normalize(text, lowercase)
    assert unicode.normalize(normal, lowercase) == normal
    assert unicode.normalize(unicodedata.normalize("NFD", normal), lowercase) == normal


@pytest.mark.parametrize("tokens", TOKENIZERS)
@given(text=st.one_of(st.text(max_size=40), st.text(HARD, max_size=40)))
@QUICK
def test_decoding_gives_the_text_back(tokens: str, text: str) -> None:
    """What is known comes back whole; words and subwords but for their whitespace."""
    normal = unicode.normalize(text, False)
    made = tokenization.tokenizer(tokens, 10**4).fit([text])
    ids = made.encode(text)
    assert UNKNOWN not in ids
    decoded = made.decode([BEGIN, *ids, END, PADDING])
    if tokens == "characters":
        assert decoded == normal
    else:
        assert without_spaces(decoded) == without_spaces(normal)


def test_words_are_what_readers_call_words() -> None:
    """Joiners stay within words, separators within numbers, marks with their base, others alone."""
    text = "Don't! Well-known 3.14, 1,000 2nd l’été -x- ça… 👍🏽 हिन्दी ❤️ a_b <unk>"
    expected = "Don't ! Well-known 3.14 , 1,000 2nd l’été - x - ça … 👍 🏽 हिन्दी ❤️ a _ b <unk>"
    words = tokenization.WordTokenizer().words(text)
    assert words == expected.split(" ")


def test_every_character_is_whitespace_or_in_a_word() -> None:
    """Nothing vanishes: what the pattern leaves out is whitespace, in all of Unicode."""
    left = re.sub(unicode.word_pattern(), "", "".join(map(chr, range(0xD800))))
    left += re.sub(unicode.word_pattern(), "", "".join(map(chr, range(0xE000, 0x110000))))
    assert left == "".join(chr(c) for c in range(0x110000) if chr(c).isspace())


@pytest.mark.parametrize("tokens", TOKENIZERS)
def test_special_tokens_come_first_and_text_cannot_forge_them(tokens: str) -> None:
    """Padding within text would hide what follows it; `<unk>` alone may be written."""
    made = tokenization.tokenizer(tokens).fit([*TEXTS, "<pad> <s> </s>"])
    assert made.vocabulary[:4] == [*SPECIAL] and (PADDING, UNKNOWN, BEGIN, END) == (0, 1, 2, 3)
    assert len(set(made.vocabulary)) == len(made.vocabulary)
    ids = made.encode("<pad> <s> </s>")
    assert ids and not {PADDING, BEGIN, END} & set(ids)
    if tokens != "characters":
        assert made.encode("<unk>") == [UNKNOWN]


@pytest.mark.parametrize("tokens", ["characters", "words", "whitespace"])
def test_vocabulary_holds_the_most_frequent(tokens: str) -> None:
    """Most frequent first, in the order of the alphabet where equal, down to `min_count`."""
    made = tokenization.tokenizer(tokens, 7, min_count=2).fit(["c b a d e", "a b c d", "b\n"])
    kept = [token for token in made.vocabulary[4:] if token != " "]
    assert kept == (["b", "a"] if tokens == "characters" else ["b", "a", "c"])
    assert len(tokenization.tokenizer(tokens, min_count=3).fit(["a b c", "b c", "c"]).ids) == (
        3 if tokens == "characters" else 2
    )


def test_subwords_part_unseen_words() -> None:
    """Frequent pieces are learnt, the longest is taken, and what has none is unknown as a whole."""
    text = "walking talking walked talked walks talks jumping jumped " * 9
    made = tokenization.tokenizer("subwords", 40).fit([text])
    assert len(made.vocabulary) <= 40
    ids = made.encode("jumps")
    assert len(ids) > 1 and UNKNOWN not in ids and made.decode(ids) == "jumps"
    assert made.encode("jumpü talks")[0] == UNKNOWN == made.encode("j" * 101)[0]
    again = tokenization.tokenizer("subwords", 40).fit([text])
    assert again.vocabulary == made.vocabulary


@pytest.mark.parametrize("tokens", TOKENIZERS)
def test_saved_tokenizer_encodes_the_same(tokens: str, tmp_path: Path) -> None:
    """Line ends and backslashes are tokens like others, in a file of lines."""
    made = tokenization.tokenizer(tokens, 99, lowercase=True, min_count=2).fit(
        ["a\r\n\\ \\n \\\\ \u2028\x85 b"] * 2
    )
    made.save(tmp_path)
    loaded = tokenization.load(tmp_path)
    assert type(loaded) is type(made) and loaded.vocabulary == made.vocabulary
    assert (loaded.vocabulary_size, loaded.lowercase, loaded.min_count) == (99, True, 2)
    text = "A\r\n\\ \\n b \\"
    assert loaded.encode(text) == made.encode(text) and UNKNOWN not in loaded.encode(text)
    lines = (tmp_path / "vocabulary.txt").read_text("utf-8").split("\n")
    assert len(lines) == len(made.vocabulary) + 1


@pytest.mark.parametrize("tokens", ["characters", "subwords"])  # all the operations there are
def test_graph_runs_where_no_python_is(tokens: str, tmp_path: Path) -> None:
    """A SavedModel's signature encodes raw strings in a bare session, cut where it should be."""
    made, _ = fitted(tokens, False)
    graph = made.graph(max_tokens=5)
    module = tf.Module()
    module.graph = graph

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        token_ids, lengths = graph(text)
        return {"token_ids": token_ids, "lengths": lengths}

    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    texts = [*TEXTS, "", "e\u0301\u0327"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = loaded.signature_def["serving_default"]
        asked = [signature.outputs[name].name for name in ("token_ids", "lengths")]
        ids, lengths = session.run(asked, {signature.inputs["text"].name: texts})
    served = [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]
    assert served == [made.encode(text)[:5] for text in texts]


def test_unknown_kind_and_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The valid kinds are listed; without `tokenizers`, the error says what to install."""
    with pytest.raises(ValueError, match="one of characters, words, whitespace, subwords"):
        tokenization.tokenizer("word")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tokenizers"):
        tokenization.tokenizer("subwords").fit(TEXTS)
