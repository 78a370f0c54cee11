"""Discovery of cameras in the network, which announce RTSP by multicast DNS."""

import threading
from dataclasses import dataclass

SERVICE = "_rtsp._tcp.local."
SECONDS = 3.0
"""Time for answers; a camera has to answer within one second (RFC 6762)."""

_DETAIL_MILLISECONDS = 1_000


@dataclass(frozen=True, slots=True)
class AnnouncedCamera:
    """A camera, as it announces itself."""

    name: str
    url: str
    """Input for it; many cameras do not announce the path."""


def find_cameras(
    seconds: float = SECONDS, interfaces: list[str] | None = None
) -> list[AnnouncedCamera]:
    """Return the cameras that answer within `seconds`; needs the extra `network`.

    `interfaces` are addresses of this machine; None: all of them.

    Raises:
        OSError: There is no network.
    """
    from zeroconf import InterfaceChoice, ServiceBrowser, Zeroconf

    names: set[str] = set()

    def collect(*, name: str, **_: object) -> None:
        """Keep a name.  Runs on the thread of the library."""
        names.add(name)

    network = Zeroconf(interfaces or InterfaceChoice.All)
    try:
        browser = ServiceBrowser(network, SERVICE, handlers=[collect])
        threading.Event().wait(seconds)
        found = []
        for name in sorted(names):
            info = network.get_service_info(SERVICE, name, _DETAIL_MILLISECONDS)
            if info is None:
                continue
            path = (info.decoded_properties.get("path") or "").lstrip("/")
            host = next(iter(info.parsed_addresses()), info.server or "")
            host = f"[{host}]" if ":" in host else host
            url = f"rtsp://{host}:{info.port}/{path}"
            found.append(AnnouncedCamera(name.removesuffix(f".{SERVICE}"), url))
        browser.cancel()
        return found
    finally:
        network.close()
