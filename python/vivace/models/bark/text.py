"""Long text -> pieces that Bark speaks in one window each: sentences first, then clauses, words.

The rules are those of punctuation, for all languages alike; no word lists but abbreviations.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise

# A window is about 14 s of speech, at about 15 letters per second.
TARGET = 200
_WIDE = 3  # a Chinese, Japanese or Korean character lasts as long as three letters

_CLOSERS = r"""["'”’»›)\]}」』】）］〉》]"""
_TAG = re.compile(r"\[[^\[\]]{1,40}\]")  # [clears throat]
_SENTENCE = re.compile(
    rf"[。！？｡]+{_CLOSERS}*\s*"
    # The look-behind keeps a long run of dots from being tried from each of them.
    rf"|(?<![.!?…])(?P<end>[.!?…।॥؟۔]+)(?P<close>{_CLOSERS}*)\s+"
    r"|\n"
)
_CLAUSE = re.compile(rf"[；：]+{_CLOSERS}*\s*|(?:[;:…]|\.\.\.|؛){_CLOSERS}*\s+|[—―]+\s*|\s[–-]+\s+")
_COMMA = re.compile(rf"[，、]+{_CLOSERS}*\s*|[,،]{_CLOSERS}*\s+")
_SPACE = re.compile(r"\s+")

_OPENERS = "\"'“‘«„([{¿¡"
_LONGEST_WORD = 40  # of those that matter here
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # J, U.S, e.g
_ENUMERATOR = re.compile(r"(?:\d{1,3}|[ivxlc]{1,5})", re.IGNORECASE)
# Words before a full stop that ends no sentence; one that need not; one only before a number.
_TITLES = re.compile(
    "mrs?|ms|mx|dr|prof|st|sr|jr|rev|hon|gen|col|maj|capt|cmdr|lt|sgt|gov|sen|rep|pres|mme|mlle|"
    "mgr|hr|frau|sra|srta|dra|vs|cf|approx|ca|bzw|resp|inkl|evtl|mt|ft"
)
_MAYBE_LAST = re.compile("etc|usw|inc|ltd|co|corp|bros")
_BEFORE_NUMBERS = re.compile("nos?|nr|num|núm|figs?|vol|pp|pg|ch|sec|art|eq|tel")


def split_text(text: str, fits: Callable[[str], bool], target: int = TARGET) -> list[str]:
    """Cuts a text into pieces of which each `fits` and is spoken in about one window.

    Cuts are made, in this order of preference, at the ends of paragraphs, sentences and lines, at
    ; : — …, at commas, at spaces, and inside a word only if it alone is too long. Neighbours are
    joined up to `target` letters (a Chinese, Japanese or Korean character counts as three), but
    not across an empty line. White space is normalised; every other character is kept, in order.
    A tag in square brackets stays whole where it can. Raises TypeError, ValueError (target < 1).
    """
    if not isinstance(text, str):
        raise TypeError(f"split_text: text must be a str, got {type(text).__name__}")
    if target < 1:
        raise ValueError(f"split_text: target must be at least 1, got {target}")

    def good(piece: str) -> bool:
        words = _plain(piece)
        return _spoken_length(words) <= target and fits(words)

    lines = [_plain(line) for line in text.splitlines()]
    paragraphs = ["\n".join(group) for filled, group in groupby(lines, key=bool) if filled]
    pieces = (piece for whole in paragraphs for piece in _divide(whole, 0, target, good))
    return [piece for piece in map(_plain, pieces) if piece]


def _divide(text: str, level: int, target: int, good: Callable[[str], bool]) -> list[str]:
    """Parts that are `good` and together are `text`, cut at as few levels as that takes."""
    if good(text) or len(text) < 2:
        return [text]
    if level == len(_LEVELS):
        return list(_chop(text, target, good))
    cuts = [0, *_outside_tags(text, list(_LEVELS[level](text))), len(text)]
    merged: list[str] = []
    for start, end in pairwise(cuts):
        for part in _divide(text[start:end], level + 1, target, good):
            if merged and good(merged[-1] + part):
                merged[-1] += part
            else:
                merged.append(part)
    return merged


def _sentence_cuts(text: str) -> Iterator[int]:
    start = 0
    for match in _SENTENCE.finditer(text):
        if match["end"] is None or _ends_sentence(text, start, match):
            start = match.end()
            yield start


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the mark, which white space follows, ends the sentence that begins at `start`."""
    mark, closed = match["end"], bool(match["close"])
    following = text[match.end() : match.end() + 8].lstrip(_OPENERS)[:1]
    if "\n" in match[0]:
        return True
    if following.islower() and (closed or mark != "."):
        # "Why?" he asked; well... maybe. Texts without capitals: hello! how are you.
        return not closed and not mark.strip("!?")
    if mark != "." or closed:
        return True
    before = text[max(start, match.start() - _LONGEST_WORD) : match.start()].strip()
    word = before.rpartition(" ")[2].lstrip(_OPENERS).casefold()
    if _BEFORE_NUMBERS.fullmatch(word):
        return not following.isdecimal()
    if _MAYBE_LAST.fullmatch(word):
        return not following.islower()
    whole = before.lstrip(_OPENERS).casefold() == word and match.start() - start < _LONGEST_WORD
    if whole and _ENUMERATOR.fullmatch(word):
        return False
    return not (_TITLES.fullmatch(word) or _INITIALS.fullmatch(word))


def _cuts_after(pattern: re.Pattern[str]) -> Callable[[str], Iterator[int]]:
    return lambda text: (match.end() for match in pattern.finditer(text))


_LEVELS: tuple[Callable[[str], Iterator[int]], ...] = (
    _sentence_cuts,
    _cuts_after(_CLAUSE),
    _cuts_after(_COMMA),
    _cuts_after(_SPACE),
)


def _outside_tags(text: str, cuts: list[int]) -> list[int]:
    inside = {i for tag in _TAG.finditer(text) for i in range(tag.start() + 1, tag.end())}
    return [cut for cut in cuts if cut not in inside and cut < len(text)]


def _chop(text: str, target: int, good: Callable[[str], bool]) -> Iterator[str]:
    """Cuts inside a word, before no mark that belongs to the character before it."""
    start = 0
    while start < len(text):
        size = min(target, len(text) - start)
        while size > 1 and not good(text[start : start + size]):
            size //= 2
        end = start + size
        while start < end < len(text) and _is_joined(text[end - 1], text[end]):
            end -= 1
        end = end if end > start else start + size
        yield text[start:end]
        start = end


def _is_joined(character: str, following: str) -> bool:
    zero_width_joiner = "\u200d"
    mark = unicodedata.category(following) in ("Mn", "Mc", "Me")
    return mark or zero_width_joiner in (character, following)


def _spoken_length(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + (_WIDE - 1) * wide


def _plain(text: str) -> str:
    return " ".join(text.split())
