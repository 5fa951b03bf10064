"""Tar archives as streams: read once, from front to back, without unpacking anything to disk.

Plain, gzip and zstandard; also archives cut into parts (`.tar.gzaa`, `.tar.gzab`).
"""

import contextlib
import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from data_pipelines.errors import UserError
from data_pipelines.files.paths import format_names, walk

__all__ = ["find_archives", "read_tar_members"]

_NAME = re.compile(r"(?P<whole>.+\.tar(\.gz|\.zst)?)(?P<part>[a-z]{2})?")
_BUFFER = 2**20
# Of a file or a header in an archive, all of which is in memory at once: a few kilobytes of zeros
# well packed unpack to any size.
_MOST_BYTES = 2**30
# A tar archive ends with two blocks of zeros.
_END = bytes(1024)


def find_archives(folder: Path, leave_out: tuple[str, ...] = ()) -> dict[str, tuple[Path, ...]]:
    """The tar archives below a folder: {name without the part: its parts in order}.

    Folders whose names begin with one of `leave_out` are not looked into.

    Raises:
        UserError: a part is missing, or one is there twice.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(walk(folder, leave_out)):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match["whole"], []).append(path)
    for name, paths in found.items():
        parts = [path.name.removeprefix(name) for path in paths]
        if len(set(parts)) < len(parts):
            twice = format_names([str(path) for path in paths])
            raise UserError(f"archive {name}: found {twice}; expected one: move the others away")
        if "" in parts and len(parts) > 1:
            raise UserError(
                f"archive {name}: found it whole and in parts; expected either: move one away"
            )
        expected = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(len(parts))]
        if parts not in ([""], expected):
            raise UserError(
                f"archive {name}: found the parts {', '.join(parts)}; expected them from aa on "
                "without a gap: get the missing ones"
            )
    return {name: tuple(paths) for name, paths in found.items()}


def read_tar_members(
    parts: Sequence[Path], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in an archive, in the order they come.

    Nothing is written: a name that leads out of the archive is just a name. Links, devices and
    whatever else is no file are passed over.

    Args:
        parts: the archive's files.
        wanted: whether to read the file of this name.

    Raises:
        UserError: the archive is damaged, ends before its end, or holds a file larger than any that
            is read whole.
    """
    where = parts[0] if len(parts) == 1 else f"{parts[0]} … {parts[-1].name}"
    count = 0
    try:
        with contextlib.ExitStack() as stack:
            stream = _Forward(_decompressed(parts, stack))
            tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # it remembers all it has seen
                if member.isfile() and wanted(member.name):
                    content = cast(IO[bytes], tar.extractfile(member)).read()
                    count += 1
                    yield member.name, content
            if not stream.tail.endswith(bytes(tarfile.BLOCKSIZE)):  # tarfile takes it for the end
                raise EOFError("a damaged header")
            while stream.read(_BUFFER):  # the checksum of a compressed file stands at its end
                pass
            if stream.tail != _END:
                raise EOFError("no end-of-archive mark")
    except (EOFError, OSError, tarfile.TarError, zstandard.ZstdError, zlib.error) as error:
        size = sum(part.stat().st_size for part in parts)
        raise UserError(
            f"archive {where}: is damaged or not complete after {count:,} files ({error}); "
            f"it has {size:,} bytes: get it again"
        ) from error


def _decompressed(parts: Sequence[Path], stack: contextlib.ExitStack) -> IO[bytes]:
    joined = stack.enter_context(io.BufferedReader(_Joined(parts), _BUFFER))
    if ".tar.gz" in parts[0].name:
        return io.BufferedReader(stack.enter_context(gzip.GzipFile(fileobj=joined)), _BUFFER)
    if ".tar.zst" in parts[0].name:
        # Long windows: archives this large are packed with them.
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
        reader = stack.enter_context(decompressor.stream_reader(joined, read_size=_BUFFER))
        return io.BufferedReader(cast(io.RawIOBase, reader), _BUFFER)
    return joined


class _Joined(io.RawIOBase):
    """Files read one after the other, as if they were one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._left = list(paths)
        self._file = -1

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the present file goes; 0 at the end of the last one."""
        while self._file >= 0 or self._left:
            if self._file < 0:
                self._file = os.open(self._left.pop(0), os.O_RDONLY)
            if count := os.readv(self._file, [buffer]):
                return count
            self._close_file()
        return 0

    def close(self) -> None:
        """Close what is open."""
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class _Forward(io.RawIOBase):
    """A stream that can be moved forward, which is all that tarfile asks of one.

    tarfile's own mode for streams copies its whole buffer for each header.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes; the last ones are remembered."""
        if size > _MOST_BYTES:
            raise tarfile.ReadError(f"a file in it claims {size:,} bytes, more than are read whole")
        data = self._stream.read(size)
        self._position += len(data)
        self.tail = (self.tail + data[-len(_END) :])[-len(_END) :]
        return data

    def tell(self) -> int:
        """How many bytes have passed."""
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Read on to a position."""
        assert whence == io.SEEK_SET
        while self._position < position and self.read(min(_BUFFER, position - self._position)):
            pass
        return self._position
