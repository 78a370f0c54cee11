"""Addresses of clients: in one form, and the network that one client has."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; one of IPv4 that a listener of both wrote as IPv6 is IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def plain(text: str) -> str:
    """Write an address in one form; another text stays as it is."""
    return str(parsed(text) or text)


def is_loopback(text: str) -> bool:
    """Return True if it is an address of this machine alone."""
    return (address := parsed(text)) is not None and address.is_loopback


def network_of(text: str) -> str:
    """Return what one client has: an IPv4 address, or a /64 of IPv6."""
    address = parsed(text)
    # The network of ::1 holds no other machine.
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address or text)
