"""RTP packets, as a microphone sends them."""

import struct


def rtp_packet(
    payload: bytes,
    timestamp: int,
    sequence_number: int = 0,
    *,
    ssrc: int = 7,
    payload_type: int = 96,
) -> bytes:
    """A packet; what is too large for its field overflows."""
    header = struct.pack(
        ">BBHII", 0x80, payload_type, sequence_number % 2**16, timestamp % 2**32, ssrc
    )
    return header + payload
