"""split_text: where it cuts and where not, what it joins, and that nothing is lost."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.models.bark.text import split_text


def sentences(text: str) -> list[str]:
    """The pieces of a text whose ends of sentences are marked, the longest being the target."""
    longest = max(len(piece) for piece in text.split("|"))
    return split_text(text.replace("|", ""), lambda piece: True, target=longest)


def anything(piece: str) -> bool:
    return True


@pytest.mark.parametrize(
    "text",
    [
        "It was late in the day. |Nobody had come home yet. |The lamp was out.",
        "Is anybody there tonight? |Nobody answered at all! |Then the door opened.",
        "He said “I will go home.” |She said (nothing at all.) |Then [laughs] they did.",
        "No dots here at all\n|A second line of text\n|And a third one here",
        "He met Mr. and Mrs. Smith. |They knew Dr. Jones well.",
        "Bring fruit, e.g. an apple. |That is, i.e. not a pear.",
        "She lives at No. 5 today. |I asked, he said no. |That was all he did.",
        "J. R. R. Tolkien wrote it. |It sold very well indeed.",
        "It costs $3.14 at the shop. |Pay 1,000.50 or go away.",
        "See https://a.org/b.c?x=1. |Or mail me@example.org now.",
        "“Why would he?” he asked. |Nobody knew the reason.",
        "well... maybe i can go there. |i do not know at all yet.",
        "all in small letters here. |and nobody cares a bit.",
        "It was red, blue, etc. and so on. |Then they all went home.",
        "1. First of the long items.\n|2. Second of the items.\n|3. Third of the items.",
        "El perro duerme aquí. |¿Quién viene a casa? |¡Qué noche tan larga!",
        "वह घर जाता है। |मैं यहाँ हूँ आज।",
        "هل أنت هنا اليوم؟ |نعم أنا هنا الآن.",
    ],
)
def test_ends_of_sentences(text: str) -> None:
    assert sentences(text) == [piece.strip() for piece in text.split("|")]


def test_chinese_and_japanese_need_no_spaces() -> None:
    text = "你好，我是小王。今天天气很好！「我们走吧。」他说了这句话。真的吗？"
    pieces = ["你好，我是小王。", "今天天气很好！", "「我们走吧。」", "他说了这句话。", "真的吗？"]
    assert split_text(text, anything, target=24) == pieces
    assert split_text(text, anything, target=48) == [
        pieces[0] + pieces[1],
        pieces[2] + pieces[3],
        pieces[4],
    ]
    assert split_text(text, anything, target=99) == ["".join(pieces)]


def test_neighbours_are_joined_up_to_the_target() -> None:
    text = "One two. Three four. Five six.\nSeven eight. Nine ten."
    assert split_text(text, anything) == [" ".join(text.split())]
    pieces = ["One two. Three four.", "Five six.", "Seven eight.", "Nine ten."]
    assert split_text(text, anything, 20) == pieces
    paragraphs = "One.\n\nTwo.\n \t\nThree.\r\n\r\nFour."
    assert split_text(paragraphs, anything) == ["One.", "Two.", "Three.", "Four."]


def test_a_long_sentence_is_cut_at_the_best_mark() -> None:
    text = "one two, three four; five six, seven eight: nine ten — eleven twelve, thirteen."
    clauses = ["one two, three four;", "five six, seven eight:", "nine ten —"]
    assert split_text(text, anything, 24) == [*clauses, "eleven twelve, thirteen."]
    assert split_text(text, anything, 12)[:4] == [
        "one two,",
        "three four;",
        "five six,",
        "seven eight:",
    ]
    assert split_text("alpha beta gamma delta", anything, 11) == ["alpha beta", "gamma delta"]
    assert split_text("abcdefghij", anything, 4) == ["abcd", "efgh", "ij"]
    assert split_text("so it was 10:30 or 1,000 then", anything, 20) == [
        "so it was 10:30 or",
        "1,000 then",
    ]


def test_tags_stay_whole() -> None:
    text = "so he [clears throat] went and she [laughs out loud] stayed"
    pieces = split_text(text, anything, 17)
    assert "[clears throat]" in " | ".join(pieces)
    assert "[laughs out loud]" in pieces
    assert split_text("[clears throat]", anything, 5) == ["[clea", "rs th", "roat]"]


def test_what_fits_decides() -> None:
    text = "One two three. Four five six. Seven eight nine ten."
    pieces = split_text(text, lambda piece: len(piece.split()) <= 3)
    assert pieces == ["One two three.", "Four five six.", "Seven eight nine", "ten."]
    assert split_text("ab cd", lambda piece: False) == ["a", "b", "c", "d"]


def test_marks_are_not_torn_from_their_letters() -> None:
    text = "e\u0301" * 20
    for piece in split_text(text, anything, 7):
        assert not piece.startswith("\u0301")
        assert len(piece) <= 7
    assert split_text("👩\u200d👧" * 2, anything, 8) == ["👩\u200d👧"] * 2


def test_nothing_to_say() -> None:
    for text in ("", "  \n\n \t"):
        assert split_text(text, anything) == []


def test_errors() -> None:
    with pytest.raises(TypeError, match="text must be a str, got list"):
        split_text(["a"], anything)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target must be at least 1, got 0"):
        split_text("a", anything, 0)


ALPHABET = st.characters() | st.sampled_from(
    [*"aB1 .,;:!?…。！？()[]\"'—-\n\t\u3000é\u0301\u200d日", "..."]
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(ALPHABET, max_size=120).map("".join),
    st.integers(1, 60),
    st.integers(1, 12),
)
def test_nothing_is_lost_and_every_piece_fits(text: str, target: int, words: int) -> None:
    def fits(piece: str) -> bool:
        return len(piece.split()) <= words

    pieces = split_text(text, fits, target)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    for piece in pieces:
        assert piece
        assert piece == " ".join(piece.split())
        assert fits(piece)
        assert len(piece) <= target
    assert split_text("\n\n".join(pieces), fits, target) == pieces


@pytest.mark.parametrize(
    "unit",
    ["a", "a. ", ". ", ".", " ", "\n", "[", "[a", ")", "Mr. ", "a, ", "...", "—", "。", "\u0301"],
)
def test_time_grows_with_the_length(unit: str) -> None:
    start = time.process_time()
    split_text(unit * (100_000 // len(unit)), lambda piece: len(piece) < 100)
    assert time.process_time() - start < 5  # about 0.3 s; quadratic patterns take minutes
