"""What was cleaned before of one source under one set of rules, so that only what is new is cleaned.

    <folder>/pictures/*.jpg   as sets link to them
             journal.jsonl    a line a file, written once its pictures are: name, stamp, rows, times of writing

A line that a kill cut off, and one whose pictures are missing or changed, counts for nothing.
"""

import contextlib
import json
import os
import shutil
import zlib
from pathlib import Path


class Kept:
    """The pictures and the journal of a folder that the caller has locked."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / "pictures").mkdir(exist_ok=True)
        self.journal, self.lines = self.folder / "journal.jsonl", {}
        if self.journal.exists():
            with self.journal.open("rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError):
                        name, *rest = json.loads(line)
                        self.lines[name] = rest
        self.file = self.journal.open("a", encoding="utf-8", errors="backslashreplace")
        if self.file.tell():
            self.file.write("\n")  # so that a line that was cut off ends

    def rows(self, entry):
        """The rows of a file that was cleaned before and has not changed since; None for another."""
        stamp, rows, written = self.lines.get(entry.name, (None, [], []))
        if stamp != entry.stamp or not all(map(self._is_whole, (row for row in rows if "file" in row), written)):
            return None
        return rows

    def _is_whole(self, row, written):
        try:
            path = self.folder / row["file"]
            state = path.stat()
            if state.st_size != row["bytes"]:
                return False
            return state.st_mtime_ns == written or zlib.crc32(path.read_bytes()) == row["crc32"]
        except OSError:
            return False

    def store(self, file, content):
        """Writes a picture under the name that its row gives."""
        path = self.folder / file
        path.unlink(missing_ok=True)  # a set that links to it keeps what it has
        path.write_bytes(content)

    def note(self, entry, rows):
        """Writes down what a file's rows are, unless it may be readable another time."""
        if any(row.get("passing") for row in rows):
            return
        written = [(self.folder / row["file"]).stat().st_mtime_ns for row in rows if "file" in row]
        line = json.dumps([entry.name, entry.stamp, rows, written])
        self.file.write(f"{line}\n")
        self.file.flush()

    def close(self):
        """Closes the journal."""
        self.file.close()

    def link(self, file, target):
        """Gives a picture to the folder of a set, without a copy where the disk can."""
        try:
            os.link(self.folder / file, target / file)
        except OSError:
            shutil.copy2(self.folder / file, target / file)
