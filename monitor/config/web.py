"""Settings of the web page: where it answers, to whom, and what it may change."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from monitor.config.base import Settings, Text
from monitor.config.outputs import Change, Listen, address_of


def _is_host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]", text):
        raise ValueError(
            "must be a name or an address, without http://, port or path, as "
            "monitor.example.org"
        )
    return text.lower()


def _is_ancestor(text: str) -> str:
    if not re.fullmatch(r"self|https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?", text):
        raise ValueError("must be self, or an origin as https://home.example.org:8123")
    return text


def _is_proxy(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("must be an address, as 127.0.0.1") from None


class WebSettings(Settings):
    """The web page of `sound-monitor web`; needs the extra `web`."""

    listen: Listen = "127.0.0.1:8480"
    """Address and port; another address than one of this machine alone needs a
    password.
    """

    password_file: Text = "web.password"  # noqa: S105 - a file
    """File with the hash of the password, relative to state_dir; it is written by
    `sound-monitor web --set-password`, and without it there is no password.
    """

    viewer_password_file: Text = "web.viewer-password"  # noqa: S105 - a file
    """The same for people who may look and change nothing."""

    hosts: Annotated[
        tuple[Annotated[Text, AfterValidator(_is_host)], ...], Field(strict=False)
    ] = ()
    """Names by which browsers reach the page, besides its address, localhost and the
    name of this machine; others are refused.
    """

    trusted_proxy: Annotated[Text, AfterValidator(_is_proxy)] | None = None
    """Address of a proxy before the page, whose X-Forwarded-For, -Proto and -Prefix and
    X-Ingress-Path are believed, so that it needs a password; null: nobody's are.
    """

    proxy_signs_in: bool = False
    """The trusted proxy itself asks who somebody is: then the page needs no password,
    takes any name for its own, and answers that proxy alone.
    """

    may_change: Annotated[tuple[Change, ...], Field(strict=False)] = ()
    """What people who may do more than look may change on the page: sensitivity, mute;
    reviews, locks and alerts they always may.
    """

    frame_ancestors: Annotated[
        tuple[Annotated[Text, AfterValidator(_is_ancestor)], ...], Field(strict=False)
    ] = ()
    """Origins whose pages may show this one in a frame, or self; empty: none."""

    max_viewers: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most live pages at once; who has many of them makes room for others."""

    language: Literal["en", "de"] | None = None
    """Language of the page; null: that of the browser."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return address_of(self.listen)

    @model_validator(mode="after")
    def _names_its_proxy(self) -> "WebSettings":
        if self.proxy_signs_in and self.trusted_proxy is None:
            raise ValueError("proxy_signs_in needs trusted_proxy")
        return self
