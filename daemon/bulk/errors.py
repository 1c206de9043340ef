"""The wrong rows of a file as a CSV that can be corrected and given again: their line and what is wrong come first."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from daemon.bulk.csvfile import REPORT, CsvFile, CsvProblem


class ErrorFile:
    """Writes nothing where `path` is None. As a context: closes it. Raises `CsvProblem` where it cannot be written."""

    def __init__(self, path: Path | None, source_path: Path, source: CsvFile) -> None:
        self._file: TextIO | None = None
        self._kept = [i for i, name in enumerate(source.names) if name not in REPORT]
        self._width = len(source.names)
        if path is None:
            return
        if path.exists() and path.samefile(source_path):
            raise CsvProblem(f"--errors: {path} is the file itself")
        try:
            self._file = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise CsvProblem(f"--errors: {path}: {error.strerror}") from None
        self._writer = csv.writer(self._file, delimiter=source.delimiter)
        self._writer.writerow([*REPORT, *(source.titles[i] for i in self._kept)])

    def __enter__(self) -> ErrorFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, rows: Mapping[int, list[str]], wrong: Mapping[int, str]) -> None:
        """The wrong rows, by their lines, with all their fields also where those are too many or too few."""
        if self._file is None:
            return
        for line, error in wrong.items():
            cells = rows[line]
            kept = [cells[i] for i in self._kept] if len(cells) == self._width else cells
            self._writer.writerow([line, error, *kept])
        self._file.flush()
