"""The file of a campaign: what is read of it, and what is refused before anything is queued."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.bulk.chunks import Chunk, chunks
from daemon.bulk.csvfile import CsvProblem
from daemon.bulk.reading import RecipientFile
from daemon.bulk.repeats import repeats


def written(directory: Path, content: bytes | str) -> Path:
    path = directory / "people.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path) -> list[tuple[int, list[str]]]:
    with RecipientFile(path) as file:
        found = list(file.read())
        assert file.rows == len(found)
        return found


def chunked(path: Path, *ignored: str) -> list[Chunk]:
    with RecipientFile(path, ignored) as file, repeats() as seen:
        return list(chunks(file, seen))


@pytest.mark.parametrize(
    "content",
    [
        "to,body\n+1,Hi\n+2,Ho\n",
        "to,body\r\n+1,Hi\r\n+2,Ho",
        "to,body\r+1,Hi\r+2,Ho\r",
        "\ufeffto;body\n+1;Hi\n+2;Ho\n",
        "to\tbody\n+1\tHi\n+2\tHo\n",
        ' To ,BODY\n"+1","Hi"\n+2,Ho\n',
    ],
)
def test_commas_semicolons_tabs_and_any_line_ends_are_read(work_dir: Path, content: str) -> None:
    assert read(written(work_dir, content)) == [(2, ["+1", "Hi"]), (3, ["+2", "Ho"])]


def test_a_row_is_named_by_the_line_it_begins_in(work_dir: Path) -> None:
    path = written(work_dir, 'to,body\n+1,"one\ntwo, ""three"""\n\n+2,"\r\n"\r\n+3,Ho\n')
    assert read(path) == [(2, ["+1", 'one\ntwo, "three"']), (5, ["+2", "\r\n"]), (7, ["+3", "Ho"])]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty|no field|no name"),
        (b"body\nHi\n", "column to is missing"),
        (b"to,phone\n+1,+1\n", r"column 2 \('phone'\) is no field of a delivery"),
        (b"+14155550123,Hi\n", r"column 1 \('\+14155550123'\) is no field"),
        (b"to,\n+1,\n", r"column 2 \(''\) is no field"),
        (b"to,To\n+1,+2\n", "column to is there twice"),
        ("to,body\n+1,Grüße\n".encode("latin-1"), r"line 2: is not UTF-8 \(byte 0xfc\)"),
        (b"to,body\n" + b"+1,Hi\n" * 300_000 + b"+1,\xff\n", r"line 300002: is not UTF-8 \(byte 0xff\)"),
        (b"to,body\n+1,Hi\xe2\x82", r"line 2: is not UTF-8 \(byte 0xe2\)"),
        ("to,body\n+1,Hi\n".encode("utf-16"), "is UTF-16"),
        (b'to,body\n+1,Hi\n+2,"Ho\n+3,Hu\n', "line 3: unexpected end of data"),
        (b'to,body\n+1,"Hi" you\n', "line 2: ',' expected after '\"'"),
    ],
)
def test_a_file_that_is_broken_is_refused_whole(work_dir: Path, content: bytes, words: str) -> None:
    with pytest.raises(CsvProblem, match=words) as caught:
        RecipientFile(written(work_dir, content))
    assert str(caught.value).startswith(str(work_dir / "people.csv"))
    assert len(str(caught.value)) < 500 + len(str(work_dir))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b",".join([b"to"] + [b"x%d" % n for n in range(600_000)]), "longer than|no field"),
        (b"to,body\n+1," + b"x" * 10_000_000, "line 2: the row is longer than 4,000,000 characters"),
        (b'to,body\n+1,"' + b"x\n" * 5_000_000, 'line 2: the row is longer .*: is a " never closed'),
        (b'to,body\n+1,"' + b'\n","' * 2_500_000, "line 2: the row is longer"),
    ],
    ids=["columns", "field", "quote", "fields"],
)
def test_a_row_without_end_is_refused_before_it_fills_the_memory(
    work_dir: Path, content: bytes, words: str
) -> None:
    path = written(work_dir, content)
    del content
    tracemalloc.start()
    try:
        with pytest.raises(CsvProblem, match=words) as caught:
            RecipientFile(path)
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 500 + len(str(work_dir))


def test_what_is_no_file_is_refused(work_dir: Path) -> None:
    with pytest.raises(CsvProblem, match="No such file"):
        RecipientFile(work_dir / "none.csv")
    with pytest.raises(CsvProblem, match="Is a directory"):
        RecipientFile(work_dir)
    with pytest.raises(CsvProblem, match="is not a plain file"):
        RecipientFile(Path("/dev/null"))


def test_a_file_that_is_written_to_meanwhile_is_noticed(work_dir: Path) -> None:
    path = written(work_dir, "to\n+1\n")
    with RecipientFile(path) as file:
        assert not file.changed
        path.write_text("to\n+1\n+2\n")
        assert file.changed


def test_a_column_that_is_ignored_means_nothing(work_dir: Path) -> None:
    (chunk,) = chunked(written(work_dir, "name,to,body\nAnn,+1,Hi\n"), "Name", "body")
    assert chunk.columns == {"to": ["+1"]}


def test_the_columns_of_a_report_may_stay_in_a_corrected_file(work_dir: Path) -> None:
    (chunk,) = chunked(written(work_dir, "line,error,to,body\n7,to: is missing,+1,Hi\n"))
    assert chunk.columns == {"to": ["+1"], "body": ["Hi"]}


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("+1,,", "row: has 3 fields where the header has 4"),
        ("+1,,,,", "row: has 5 fields where the header has 4"),
        ("+1,,,a\0b", "row: has a NUL character"),
        ("+1,tomorrow,,", "due_at: 'tomorrow' is not a time such as 2026-01-31T18:00:00+01:00"),
        (
            "+1,2026-01-31T18:00:00,,",
            "due_at: '2026-01-31T18:00:00' has no zone: add one, such as +01:00 or Z",
        ),
        ("+1,0001-01-01T00:00:00+14:00,,", "due_at: '0001-01-01T00:00:00+14:00' is not a time such as"),
        ("+1,,5,", "priority: '5' is none of high, normal, bulk"),
    ],
)
def test_a_row_that_cannot_be_asked_about_is_wrong_by_itself(work_dir: Path, row: str, error: str) -> None:
    content = f"to,due_at,priority,body\n+1,,,Hi\n{row}\n+2,2026-01-31T18:00:00Z,HIGH,Ho\n"
    (chunk,) = chunked(written(work_dir, content))
    assert chunk.lines == [2, 4]
    assert chunk.columns["priority"] == [None, 1]
    assert list(chunk.wrong) == [3]
    assert chunk.wrong[3].startswith(error)


def test_a_row_repeats_another_if_it_says_the_same_to_the_same_address_at_the_same_time(
    work_dir: Path,
) -> None:
    rows = [
        "+1,Hi,,,",
        "+2,Hi,,,",
        "+1,Ho,,,",
        "+1,Hi,2026-01-31T18:00:00Z,,",
        "+1,Hi,,high,",  # 6: repeats 2
        "+1,Hi,,,key-1",
        "+1,Hi,,,key-2",
        "+1,Hi,2026-01-31T18:00:00Z,,",  # 9: repeats 5
    ]
    (chunk,) = chunked(
        written(work_dir, "to,body,due_at,priority,idempotency_key\n" + "".join(f"{row}\n" for row in rows))
    )
    assert chunk.repeats == {6: 2, 9: 5}
    assert chunk.lines == [2, 3, 4, 5, 7, 8]


def test_rows_repeat_across_chunks(work_dir: Path) -> None:
    found = chunked(written(work_dir, "to\n" + "".join(f"+{n % 6_000}\n" for n in range(12_000))))
    assert [chunk.after_line for chunk in found] == [0, 5001, 10001]
    assert sum(len(chunk.lines) for chunk in found) == 6_000
    assert found[1].repeats == {line: line - 6_000 for line in range(6_002, 10_002)}


@given(st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=6))
def test_repeats_are_what_a_plain_dictionary_says(chunks_of_words: list[list[str]]) -> None:
    first: dict[str, int] = {}
    line = 0
    with repeats() as seen:
        for words in chunks_of_words:
            rows, expected = [], {}
            for word in words:
                line += 1
                rows.append((line, word))
                if first.setdefault(word, line) != line:
                    expected[line] = first[word]
            assert seen.earlier(rows) == expected


def test_large_rows_make_small_chunks(work_dir: Path) -> None:
    found = chunked(written(work_dir, "to,body\n" + "".join(f"+{n},{'x' * 400_000}\n" for n in range(25))))
    assert max(len(chunk.rows) for chunk in found) <= 11
    assert sum(len(chunk.rows) for chunk in found) == 25
