"""Mutants of a source: one line altered at a time, as a slip of the pen would alter it.

Lines are read by patterns, not by a parser: clang-format puts blanks around every binary operator
and none inside template brackets, which is all that the patterns rely on. What does not compile is
no mutant.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Edit = tuple[int, int, str]  # replace code[start:end]


@dataclass(frozen=True)
class Mutant:
    """Line `line` (from 1) of `file` reads `after` instead of `before`."""

    file: str
    line: int
    operator: str
    before: str
    after: str
    copy: int  # how many equal lines stand before this one: names it when lines move

    @property
    def id(self) -> str:
        text = "\0".join((self.file, str(self.copy), self.before.strip(), self.after.strip()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def diff(self) -> str:
        head = f"{self.file}:{self.line} ({self.operator})"
        return f"{head}\n- {self.before.strip()}\n+ {self.after.strip()}"


_COMPARISONS = {
    "<": ("<=", "+ 1 <"),
    "<=": ("<",),
    ">": (">=",),
    ">=": (">", "+ 1 >="),
    "==": ("!=",),
    "!=": ("==",),
}
_ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "/", "+=": "-=", "-=": "+="}
_TWINS = {
    "fmaxf": "fminf",
    "fminf": "fmaxf",
    "__reduce_max_sync": "__reduce_min_sync",
    "__reduce_min_sync": "__reduce_max_sync",
    "true": "false",
    "false": "true",
    "0.0f": "1.0f",
    "1.0f": "2.0f",
}
_NAME = r"[\w.\->:]+(?:\[\w+\])*(?:\([^()]*\))?"
_TERM = rf"{_NAME}(?: [*/%] {_NAME})*"
_TEST = rf"!?{_NAME}(?: (?:[<>]=?|[=!]=) {_NAME})?"
_STATEMENT_START = re.compile(
    r"\s*(?:(?:const|constexpr|static|auto|int|float|unsigned|bool|char|using|struct|typename|T|"
    r"extern|public|DYNAMIC_SHARED|__shared__|Tile|Step|Problem|Geometry|Limits|Pair|case|default|"
    r"[A-Z]\w*<.*>|(?:std|conv|ptx)::\w+)\b\*?\s+\w|return\b(?!;)|else\b|for\b|while\b|template\b)"
)


def _barriers(code: str) -> Iterator[Edit]:
    for m in re.finditer(r"__sync(?:threads|warp)\(\);", code):
        yield m.start(), m.end(), ";"


def _waits(code: str) -> Iterator[Edit]:
    for m in re.finditer(r"ptx::cp_async_(?:commit|wait_all|wait<[^;]*>)\(\);", code):
        yield m.start(), m.end(), ";"
    for m in re.finditer(r"(cp_async_wait<[^;]*)>\(\)", code):
        yield m.start(), m.end(), f"{m[1]} + 1>()"


def _comparisons(code: str) -> Iterator[Edit]:
    for m in re.finditer(r"(?<= )([<>]=?|[=!]=)(?= )", code):
        for other in _COMPARISONS[m[1]]:
            yield m.start(), m.end(), other


def _conditions(code: str) -> Iterator[Edit]:
    for m in re.finditer(r"(?<= )(&&|\|\|)(?= )", code):
        yield m.start(), m.end(), {"&&": "||", "||": "&&"}[m[1]]
    for m in re.finditer(rf"(?<=[( ]){_TEST} (?:&&|\|\|) ", code):
        yield m.start(), m.end(), ""
    for m in re.finditer(rf" (?:&&|\|\|) {_TEST}(?=\)|;| \?)", code):
        yield m.start(), m.end(), ""
    for m in re.finditer(r"(?<=, )in(?=\))", code):
        yield m.start(), m.end(), "true"


def _arithmetic(code: str) -> Iterator[Edit]:
    for m in re.finditer(r"(?<= )([+\-*/%]|[+\-]=)(?= )", code):
        if m[1] in ("+=", "-=") and code.lstrip().startswith("for (") and ";" in code[: m.start()]:
            continue  # a loop that never ends shows nothing
        yield m.start(), m.end(), _ARITHMETIC[m[1]]
    for m in re.finditer(r"(?<=[(,=] )-(?=[A-Za-z])|(?<=\()-(?=[A-Za-z])", code):
        yield m.start(), m.end(), ""


def _terms(code: str) -> Iterator[Edit]:
    end = r"(?=[);,\]]|$| [<>+\-?:&|])"
    for m in re.finditer(rf" [+\-] {_TERM}{end}", code):
        yield m.start(), m.end(), ""
    for m in re.finditer(rf"(?<=[(\[ ])(?<![*/%] )(?<!return )({_TERM}) \+ (?=[\w(])", code):
        yield m.start(), m.end(), ""


def _constants(code: str) -> Iterator[Edit]:
    for m in re.finditer(r"(?<![\w.<])\d+(?![\w.]|>)", code):
        if not re.search(r"<[^<>()]*$", code[: m.start()]) or " < " in code[: m.start()]:
            yield m.start(), m.end(), str(int(m[0]) + 1)


def _twins(code: str) -> Iterator[Edit]:
    for word, twin in _TWINS.items():
        for m in re.finditer(rf"(?<![\w.]){re.escape(word)}(?!\w)", code):
            yield m.start(), m.end(), twin
    for m in re.finditer(rf"\? ({_TERM}) : (-?{_TERM})(?=[;,)])", code):
        yield m.start(), m.end(), f"? {m[2]} : {m[1]}"


def _closing(code: str, at: int) -> int:
    """The place behind the parenthesis that closes the one before `at`."""
    depth = 1
    while depth and at < len(code):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        at += 1
    return at


def _statements(code: str) -> Iterator[Edit]:
    body = re.fullmatch(r"(\s*)(.*;)\s*", code)
    if body is None or _STATEMENT_START.match(code) or body[2].count("(") != body[2].count(")"):
        return
    if re.match(r"\s*(?:__sync|ptx::cp_async_)", code) or body[2] in (";", "};", "});"):
        return  # operators of their own
    if body[2].startswith("if ("):
        end = _closing(code, body.start(2) + 4)
        if not re.match(r" (?:return|continue|break)\b", code[end:]):
            yield body.start(2), end + 1, ""  # always
    yield body.start(2), body.end(2), ";"


OPERATORS: dict[str, Callable[[str], Iterator[Edit]]] = {
    "barrier": _barriers,
    "wait": _waits,
    "bound": _comparisons,
    "mask": _conditions,
    "arithmetic": _arithmetic,
    "term": _terms,
    "constant": _constants,
    "twin": _twins,
    "statement": _statements,
}


def blanked(text: str) -> str:
    """The text with comments and strings as blanks, every character at its place."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    text = re.sub(r"//[^\n]*|/\*.*?\*/", blank, text, flags=re.S)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', lambda m: '"' + " " * (len(m[0]) - 2) + '"', text)


_NOT_CODE = re.compile(r"\s*(?:#|static_assert|using |namespace |template |template<|$)")


def _check_lines(code: str) -> set[int]:
    """Lines of the host functions' check(...) statements."""
    found: set[int] = set()
    for m in re.finditer(r"\bcheck\((?!bool)", code):
        first = code.count("\n", 0, m.start())
        found |= set(range(first, code.count("\n", 0, _closing(code, m.end())) + 1))
    return found


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Every mutant of a source, in the order of its lines, each altered line once.

    The checks of host functions are left out: the ops check first, and these repeat it for callers
    of the native module.
    """
    lines, code = text.split("\n"), blanked(text)
    skipped = _check_lines(code)
    copies: Counter[str] = Counter()
    found: list[Mutant] = []
    open_statement = False
    for number, (line, bare) in enumerate(zip(lines, code.split("\n"), strict=True)):
        copy = copies[line.strip()]
        copies[line.strip()] += 1
        begins = not open_statement
        if bare.strip() and not bare.lstrip().startswith("#"):
            open_statement = bare.rstrip()[-1] not in ";{}:"
        if _NOT_CODE.match(bare) or number in skipped:
            continue
        seen = {line}
        for name, operator in OPERATORS.items():
            if name == "statement" and not begins:
                continue
            for start, end, other in operator(bare):
                after = line[:start] + other + line[end:]
                if after not in seen:
                    seen.add(after)
                    found.append(Mutant(file, number + 1, name, line, after, copy))
    return found
