"""Progress of `vivace bark` on a terminal: a bar for each stage of the sentence that is spoken."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tqdm import tqdm

__all__ = ["StageBars"]

# stage -> (what is counted, its unit)
_STAGES = {
    "semantic": ("semantic tokens", "token"),
    "coarse": ("coarse tokens", "token"),
    "fine": ("fine passes", "pass"),
}


class StageBars:
    """The `progress` and `on_sentence` of `stream_long`; a context, at whose end the bars stay."""

    def __init__(self, hidden: bool) -> None:
        self.bars: dict[str, Any] = {
            stage: tqdm(
                total=0, desc=name, unit=unit, position=index, disable=hidden, dynamic_ncols=True
            )
            for index, (stage, (name, unit)) in enumerate(_STAGES.items())
        }

    def __enter__(self) -> StageBars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self.bars.values():
            bar.close()

    def sentence(self, done: int, total: int, sentence: str) -> None:
        """Another sentence begins: the bars are empty again."""
        for stage, bar in self.bars.items():
            prefix = f"{done + 1}/{total} " if total > 1 else ""
            bar.set_description_str(prefix + _STAGES[stage][0], refresh=False)
            bar.reset(total=0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of at most `total` units of a stage are made."""
        bar = self.bars[stage]
        bar.total = total
        bar.update(done - bar.n)
        semantic = self.bars["semantic"]
        # A sentence mostly ends before the most tokens it may have.
        if stage != "semantic" and semantic.total != semantic.n:
            semantic.total = semantic.n
            semantic.refresh()
