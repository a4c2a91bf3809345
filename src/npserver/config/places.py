"""Where the parts of a config stand that several files make up together, and those that rules get from `defaults`.

`config.assemble` merges the files: the lists of the first level are appended, its objects have the keys of all files.
So a path of two parts tells the file.
"""

from __future__ import annotations

from bisect import bisect_right

from npserver.config.jsonc import Path, Places


class MergedPlaces(Places):
    """The positions of the keys and values of a merged config, each in its own file."""

    __slots__ = ("_files", "_items", "_keys", "_moved")

    def __init__(self, file: str, places: Places) -> None:
        """Begin with the main file."""
        super().__init__("", {})
        self._files: list[tuple[str, Places]] = [(file, places)]
        self._keys: dict[Path, int] = {}  # of the first and second level: the file's number, if it is not the main one
        self._items: dict[str, tuple[list[int], list[int]]] = {}  # of lists: where each file's items start, its number

        self._moved: dict[Path, Path] = {}  # keys of rules that stand in `defaults`

    def add_moved(self, path: Path, stands_at: Path) -> None:
        """Note that the value of a rule's key stands elsewhere."""
        self._moved[path] = stands_at

    def add_file(self, file: str, places: Places) -> int:
        """Return the number of another file."""
        self._files.append((file, places))
        return len(self._files) - 1

    def add_key(self, path: Path, number: int) -> None:
        """Note that the value at a path of one or two keys stands in a file."""
        self._keys[path] = number

    def add_items(self, key: str, start: int, number: int) -> None:
        """Note that the items of a list, from `start`, stand in a file."""
        starts, numbers = self._items.setdefault(key, ([0], [self._keys.get((key,), 0)]))
        starts.append(start)
        numbers.append(number)

    def key(self, path: Path) -> tuple[int, int]:
        """Line and column of the key at `path`, of an item in a list, or of the nearest part around it."""
        number, own = self._locate(path)
        return self._files[number][1].key(own)

    def value(self, path: Path) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest part around it."""
        number, own = self._locate(path)
        return self._files[number][1].value(own)

    def file(self, path: Path) -> str:
        """Return the file in which the value at `path` stands."""
        return self._files[self._locate(path)[0]][0]

    def user(self, path: Path) -> str:
        """Return the place of the rule that has the value at `path` from elsewhere; "" for a value of its own."""
        if path[:3] not in self._moved:
            return ""
        line, column = self.value(path[:2])
        return f"{self.file(path[:2])}:{line}:{column}"

    def _locate(self, path: Path) -> tuple[int, Path]:
        """Return the number of the file of a part, and its path there."""
        if (moved := self._moved.get(path[:3])) is not None:
            path = (*moved, *path[3:])
        if len(path) > 1 and isinstance(path[1], int) and (items := self._items.get(str(path[0]))) is not None:
            at = bisect_right(items[0], path[1]) - 1
            return items[1][at], (path[0], path[1] - items[0][at], *path[2:])
        return self._keys.get(path[:2], self._keys.get(path[:1], 0)), path
