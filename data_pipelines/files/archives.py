"""Tar archives as streams: read once, from start to end, without unpacking anything to disk.

Archives are uncompressed, gzip or Zstandard, and may be split into parts (`.tar.gzaa`,
`.tar.gzab`).
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

_NAME = re.compile(r"(?P<name>.+\.tar(\.gz|\.zst)?)(?P<part>[a-z]{2})?")
_BUFFER = 2**20
# Limit for a file or a header in an archive, which is read into memory as a unit: a few kilobytes
# of compressed zeros expand to any size.
_MAX_BYTES = 2**30
# A tar archive ends with two blocks of zeros.
_END = bytes(1024)


def find_archives(
    folder: Path, exclude_prefixes: tuple[str, ...] = ()
) -> dict[str, tuple[Path, ...]]:
    """Find the tar archives below a folder.

    Args:
        folder: Folder to search, at any depth.
        exclude_prefixes: Folders whose names begin with one of these are not searched.

    Returns:
        {name of the archive, without the part's suffix: its parts in order}.

    Raises:
        UserError: If a part is missing or occurs twice, or an archive lies beside its parts.
    """
    archives: dict[str, list[Path]] = {}
    for path in sorted(walk(folder, exclude_prefixes)):
        if match := _NAME.fullmatch(path.name):
            archives.setdefault(match["name"], []).append(path)
    for name, paths in archives.items():
        parts = [path.name.removeprefix(name) for path in paths]
        if len(set(parts)) < len(parts):
            duplicates = format_names([str(path) for path in paths])
            raise UserError(
                f"archive {name}: found {duplicates}; expected one: move the others away"
            )
        if "" in parts and len(parts) > 1:
            raise UserError(
                f"archive {name}: found both the complete archive and parts of it; expected "
                "either: move one away"
            )
        expected = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(len(parts))]
        if parts not in ([""], expected):
            raise UserError(
                f"archive {name}: found the parts {', '.join(parts)}; expected consecutive parts "
                "from aa on: copy or download the missing ones"
            )
    return {name: tuple(paths) for name, paths in archives.items()}


def read_tar_members(
    parts: Sequence[Path], predicate: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Read the files in an archive.

    Nothing is written to disk, so a name that leads out of the archive is harmless. Links, devices
    and other members that are not regular files are skipped.

    Args:
        parts: Files of the archive, in order.
        predicate: Function that returns whether to read the file of a name.

    Yields:
        Name and content of each file, in the archive's order.

    Raises:
        UserError: If the archive is corrupt or incomplete, or holds a file larger than 1 GiB.
    """
    archive = parts[0] if len(parts) == 1 else f"{parts[0]} … {parts[-1].name}"
    count = 0
    try:
        with contextlib.ExitStack() as stack:
            stream = _ForwardStream(_open_decompressed(parts, stack))
            tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all members
                if member.isfile() and predicate(member.name):
                    content = cast(IO[bytes], tar.extractfile(member)).read()
                    count += 1
                    yield member.name, content
            # tarfile takes a corrupt header for the end of the archive.
            if not stream.tail.endswith(bytes(tarfile.BLOCKSIZE)):
                raise EOFError("a corrupt header")
            while stream.read(_BUFFER):  # the checksum of a compressed file is at its end
                pass
            if stream.tail != _END:
                raise EOFError("no end-of-archive marker")
    except (EOFError, OSError, tarfile.TarError, zstandard.ZstdError, zlib.error) as error:
        size = sum(part.stat().st_size for part in parts)
        raise UserError(
            f"archive {archive}: is corrupt or incomplete after {count:,} files ({error}); "
            f"it has {size:,} bytes: copy or download it again"
        ) from error


def _open_decompressed(parts: Sequence[Path], stack: contextlib.ExitStack) -> IO[bytes]:
    concatenated = stack.enter_context(io.BufferedReader(_ConcatenatedFiles(parts), _BUFFER))
    if ".tar.gz" in parts[0].name:
        return io.BufferedReader(stack.enter_context(gzip.GzipFile(fileobj=concatenated)), _BUFFER)
    if ".tar.zst" in parts[0].name:
        # Large archives are compressed with long windows.
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
        reader = stack.enter_context(decompressor.stream_reader(concatenated, read_size=_BUFFER))
        return io.BufferedReader(cast(io.RawIOBase, reader), _BUFFER)
    return concatenated


class _ConcatenatedFiles(io.RawIOBase):
    """A stream of the contents of several files, one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._remaining = list(paths)
        self._file = -1

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes of the current file into `buffer`.

        Returns:
            Number of bytes read; 0 at the end of the last file.
        """
        while self._file >= 0 or self._remaining:
            if self._file < 0:
                self._file = os.open(self._remaining.pop(0), os.O_RDONLY)
            if count := os.readv(self._file, [buffer]):
                return count
            self._close_file()
        return 0

    def close(self) -> None:
        """Close the open file and the stream."""
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class _ForwardStream(io.RawIOBase):
    """A stream that seeks forward only, which is all that tarfile requires.

    tarfile's own stream mode copies its whole buffer for each header.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes, and keep the last ones of the stream in `tail`."""
        if size > _MAX_BYTES:
            raise tarfile.ReadError(
                f"a file in it claims {size:,} bytes; the limit is {_MAX_BYTES:,}"
            )
        data = self._stream.read(size)
        self._position += len(data)
        self.tail = (self.tail + data[-len(_END) :])[-len(_END) :]
        return data

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Read up to a position, and return the position reached."""
        assert whence == io.SEEK_SET
        while self._position < position and self.read(min(_BUFFER, position - self._position)):
            pass
        return self._position
