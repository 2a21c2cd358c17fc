"""Which files are read and written: folders, trees, collisions, existing targets."""

from pathlib import Path

from vivace.cli.files import plan

SUFFIXES = (".wav", ".flac")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def pairs(root: Path, *arguments: object, force: bool = False) -> list[tuple[str, str, str | None]]:
    inputs, output, new_suffix = arguments
    jobs = plan(inputs, output, SUFFIXES, new_suffix, force)  # type: ignore[arg-type]
    return [
        (str(j.source.relative_to(root)), str(j.target.relative_to(root)), j.error) for j in jobs
    ]


def test_folders_keep_their_tree(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.wav", "in/x/y/a.FLAC", "in/x/notes.txt", "in/dir.wav/c.wav", "lone.mp3")
    assert pairs(tmp_path, [tmp_path / "in", tmp_path / "lone.mp3"], tmp_path / "out", ".dac") == [
        ("in/b.wav", "out/b.dac", None),
        ("in/dir.wav/c.wav", "out/dir.wav/c.dac", None),
        ("in/x/y/a.FLAC", "out/x/y/a.dac", None),
        ("lone.mp3", "out/lone.dac", None),
    ]


def test_names_with_dots_or_without_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.b.wav", "plain")
    found = pairs(tmp_path, [tmp_path / "a.b.wav", tmp_path / "plain"], tmp_path / "o", ".dac")
    assert [target for _, target, _ in found] == ["o/a.b.dac", "o/plain.dac"]


def test_results_below_the_input_are_not_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "out/a.wav")
    first = pairs(tmp_path, [tmp_path], tmp_path / "out", ".wav")
    assert [source for source, _, _ in first] == ["a.wav"]


def test_existing_targets(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "out/a.dac")
    arguments = ([tmp_path / "a.wav"], tmp_path / "out", ".dac")
    (_, _, error), *_ = pairs(tmp_path, *arguments)
    assert error is not None
    assert "--force" in error
    assert pairs(tmp_path, *arguments, force=True)[0][2] is None


def test_inputs_are_never_overwritten(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "b.flac")
    found = pairs(tmp_path, [tmp_path / "a.wav", tmp_path / "b.flac"], tmp_path, ".wav", force=True)
    assert "is an input" in str(found[0][2])
    assert found[1][2] is None  # b.wav was not named as an input
    found = pairs(tmp_path, [tmp_path], tmp_path, ".wav", force=True)
    assert all("is an input" in str(error) for _, _, error in found)


def test_two_inputs_for_one_target(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "a.flac", "sub/a.wav")
    found = pairs(tmp_path, [tmp_path / "a.wav", tmp_path / "sub"], tmp_path / "out", ".dac")
    assert found[0][2] is None
    assert "is written for" in str(found[1][2])
    again = pairs(tmp_path, [tmp_path / "a.wav", tmp_path / "a.wav"], tmp_path / "out", ".dac")
    assert len(again) == 1


def test_missing_and_empty_inputs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    jobs = plan(
        [tmp_path / "gone.wav", tmp_path / "empty"], tmp_path / "o", SUFFIXES, ".dac", False
    )
    assert "does not exist" in str(jobs[0].error)
    assert "holds no .wav .flac files" in str(jobs[1].error)
