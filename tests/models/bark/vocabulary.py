"""A small cased WordPiece vocabulary, and texts that it cuts into words, pieces and [UNK]."""

import string
from pathlib import Path

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_WORDS = "Hello hello world my dog is cute laugh laughter music clears throat the little egg don t"
_PIECES = "##s ##ing ##ter ##est ##é ##ü ##я ##́"
_SIGNS = [*string.punctuation, *"♪—…。！？「」¿«»é日本語你好世界яñ"]

_ALL = [
    *_SPECIAL,
    *_WORDS.split(),
    *_PIECES.split(),
    *_SIGNS,
    *string.ascii_letters,
    *string.digits,
    *(f"##{c}" for c in string.ascii_lowercase + string.digits),
]
TOKENS = list(dict.fromkeys(_ALL))

TEXTS = [
    "",
    " ",
    "Hello, my dog is cute",
    "hello worlds, the littlest egg...",
    "[laughter] the egg [clears throat] ♪ music ♪",
    "a [MASK] and [SEP] inside [CLS][PAD]",
    "日本語 你好世界。 mixed日本words",
    "é e\u0301 ÀÉ ñandú — «sí» ¿qué?",
    "emoji 😀 👨‍👩‍👧 flags 🇯🇵",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,
    "tab\tnew\nline\r\nnbsp\u00a0zero\u200bwidth\x00nul\ufffdbad\ufeff",
    "don't co-operate: e.g. 3.14, U.S.A.!?",
    "ЯЯ яя привет",
    "hello " * 300,
]


def write_vocab(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return folder
