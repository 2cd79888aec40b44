"""Docker's two streams, cut into messages: lines (events), and frames of standard output and error (logs). Pure."""

from collections.abc import Iterator


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete now, without their ends; empty ones are left out."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())


class Frames:
    """Takes the frames' headers out: eight bytes, of which the last four are the big-endian length of what follows."""

    HEADER = 8

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return what the container wrote in this part of the stream."""
        written = bytearray()
        view = memoryview(chunk)
        while view:
            if self._left:
                written += view[: self._left]
                taken = min(self._left, len(view))
                self._left -= taken
            else:
                taken = min(self.HEADER - len(self._header), len(view))
                self._header += bytes(view[:taken])
                if len(self._header) == self.HEADER:
                    self._left = int.from_bytes(self._header[4:])
                    self._header = b""
            view = view[taken:]
        return bytes(written)
