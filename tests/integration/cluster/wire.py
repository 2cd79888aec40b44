"""What somebody reads who is on the wire between two machines: the payload of each connection, in order."""

import re
import socket
import struct
import threading
from collections import defaultdict

ALL_PROTOCOLS = 0x0003
IPV4 = 0x0800
TCP, UDP = 6, 17
ETHERNET_HEADER = 14
LARGEST_FRAME = 256 * 1024
MOST_BYTES = 512 * 1024**2

Flow = tuple[str, int, str, int]
"""Source address and port, destination address and port."""


class Wire:
    """Reads an interface while the block runs. ``heard`` holds the payload of each flow."""

    def __init__(self, interface: str) -> None:
        self.heard: dict[Flow, bytearray] = defaultdict(bytearray)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024**2)
        self._socket.bind((interface, 0))
        self._socket.settimeout(0.2)
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Wire":
        self._reader.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._reader.join()
        self._socket.close()

    def flows_with(self, pattern: str) -> list[Flow]:
        """Return the flows in which the regular expression can be read."""
        wanted = re.compile(pattern.encode())
        return [flow for flow, payload in dict(self.heard).items() if wanted.search(payload)]

    def bytes_of_port(self, port: int) -> int:
        """Return how much went to or from a port."""
        return sum(len(payload) for flow, payload in dict(self.heard).items() if port in (flow[1], flow[3]))

    def _read(self) -> None:
        total = 0
        while not self._stop.is_set():
            try:
                frame = self._socket.recv(LARGEST_FRAME)
            except TimeoutError:
                continue
            except OSError:  # the interface goes with the machine
                return
            total += len(frame)
            assert total < MOST_BYTES
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        if len(frame) < ETHERNET_HEADER + 20 or struct.unpack_from("!H", frame, 12)[0] != IPV4:
            return
        packet = frame[ETHERNET_HEADER:]
        packet = packet[: struct.unpack_from("!H", packet, 2)[0] or len(packet)]
        segment = packet[(packet[0] & 15) * 4 :]
        if packet[9] == TCP:
            payload = segment[(segment[12] >> 4) * 4 :]
        elif packet[9] == UDP:
            payload = segment[8:]
        else:
            return
        source, destination = struct.unpack_from("!HH", segment)
        flow = (socket.inet_ntoa(packet[12:16]), source, socket.inet_ntoa(packet[16:20]), destination)
        self.heard[flow] += payload
