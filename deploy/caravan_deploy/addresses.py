"""This machine's own addresses: which interface has one, and which one leads to another machine."""

import json
import socket
import subprocess
from ipaddress import AddressValueError, IPv4Address

from caravan_deploy.errors import SetupError
from caravan_deploy.layout import LOOPBACK


def checked_address(text: str) -> str:
    """Return an IPv4 address of this machine. Raises SetupError for any other text."""
    try:
        address = str(IPv4Address(text))
    except AddressValueError as error:
        raise SetupError(f"{text!r} is no IPv4 address.") from error
    interface_of(address)
    return address


def interface_of(address: str) -> str:
    """Return the name of the interface that has the address. Raises SetupError when none has."""
    if address == LOOPBACK:
        return "lo"
    listed = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, timeout=20, check=False)
    if listed.returncode != 0:
        raise SetupError(f"`ip address` failed: {listed.stderr.strip()}")
    for interface in json.loads(listed.stdout):
        if any(held["local"] == address for held in interface["addr_info"]):
            return str(interface["ifname"])
    raise SetupError(f"no network interface of this machine has the address {address}.")


def address_towards(server: str) -> str:
    """Return this machine's address on the way to ``server``; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((server, 9))
        except OSError as error:
            raise SetupError(f"there is no way from this machine to {server} ({error.strerror}).") from error
        return str(probe.getsockname()[0])
