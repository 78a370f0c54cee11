"""Settings of how others learn how the monitor is doing: `status` and metrics."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, model_validator

from monitor.config.hooks import Reference
from monitor.config.settings import Settings, Text


def address_of(listen: str) -> tuple[str, int]:
    """Host and port of a text as 127.0.0.1:9110 or [::1]:9110.

    Raises:
        ValueError: It is of another form; a name other than localhost is none.
    """
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+|localhost)):(\d+)", listen)
    if found is None or not 0 < int(found[3]) < 65_536:
        raise ValueError("must be an address and a port, as 127.0.0.1:9110")
    host = "127.0.0.1" if found[2] == "localhost" else found[1] or found[2]
    try:
        return str(ipaddress.ip_address(host)), int(found[3])
    except ValueError:
        raise ValueError(f"holds {host}, which is no address") from None


def _is_listen(text: str) -> str:
    address_of(text)
    return text


Listen = Annotated[Text, AfterValidator(_is_listen)]


class StatusSettings(Settings):
    """Where the command `status` asks the running monitor how it is doing."""

    socket: Text | None = None
    """Its private socket, relative to state_dir; null: in a folder for such things."""


class MetricsSettings(Settings):
    """An HTTP server with /healthz and /metrics; needs prometheus-client."""

    listen: Listen | None = None
    """Address and port, as 127.0.0.1:9110; null: there is no server."""

    token_secret: Reference | None = None
    """Token that is asked for: env:NAME, credential:NAME or file:PATH."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; `listen` is set."""
        assert self.listen is not None, "asked only where there is a server"
        return address_of(self.listen)

    @model_validator(mode="after")
    def _is_private(self) -> "MetricsSettings":
        if self.listen is None or self.token_secret is not None:
            return self
        if not ipaddress.ip_address(self.address[0]).is_loopback:
            raise ValueError(
                f"listen: {self.listen} can be reached from other machines and needs "
                "token_secret; for this machine alone write 127.0.0.1"
            )
        return self
