"""Start the monitor as an app of Home Assistant: its options become a configuration.

The Supervisor has checked the options against the schema of config.yaml.  Secrets go
into files for their owner only, never into the configuration, the log or the
environment of the monitor.
"""

import json
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from monitor.commands.configuration_file import read_file
from monitor.config.strict_yaml import read_yaml
from monitor.errors import ConfigError
from monitor.private_files import write_private

DATA = Path("/data")
EXTRA = Path("/config/monitor.yaml")
SUPERVISOR = "http://supervisor"
TOKENS = ("SUPERVISOR_TOKEN", "HASSIO_TOKEN")

INGRESS_PROXY = "172.30.32.2"
"""The Supervisor, which alone leads people to the page, once they have signed in."""

PAGE, HEALTH = "0.0.0.0:8099", "0.0.0.0:9110"
"""In the app's own network; the ports are those of config.yaml."""

MODELS = {"urban": ["urban"], "world": ["world"], "both": ["urban", "world"]}

Document = dict[str, Any]

logger = logging.getLogger("app")


def prepare(
    data: Path = DATA,
    extra: Path = EXTRA,
    supervisor: str = SUPERVISOR,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """Write the configuration and its secrets; return its file.

    Args:
        data: Folder of the app, with options.json.
        extra: Further settings of the user, which may not exist.
        supervisor: Address of the Supervisor.
        environ: Environment variables, with the token for it.

    Raises:
        ConfigError: `extra` is not YAML.
        OSError: A file cannot be read or written.
    """
    options = json.loads((data / "options.json").read_text(encoding="utf-8"))
    own: Document = {}
    if extra.exists():
        text = read_file(extra, "settings beside the options of the app")
        own = read_yaml(text, str(extra)).data
    folder = data / "secrets"
    shutil.rmtree(folder, ignore_errors=True)
    config = merged(of_options(options, folder), own)
    mqtt = config.get("mqtt", {})
    if isinstance(mqtt, dict) and mqtt.get("host") is None:
        broker = find_broker(supervisor, environ.get("SUPERVISOR_TOKEN", ""))
        password = broker.pop("password", None)
        if password:
            broker["password"] = store(folder / "mqtt", password)
        config = merged({"mqtt": broker}, config)
    config = merged(config, of_app(data, folder))
    file = data / "monitor.yaml"
    write_private(file, yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    return file


def of_options(options: Document, folder: Path) -> Document:
    """Make the part of the configuration that people choose on the page of the app."""
    sources = []
    for option in options["sources"]:
        source = {key: value for key, value in option.items() if value != ""}
        if "password" in source:
            file = folder / f"source-{source['name']}"
            source["password"] = store(file, source["password"])
        sources.append(source)
    return {
        "sources": sources,
        "models": MODELS[options["model"]],
        "labels": [label for label in options["labels"] if label] or None,
        "detection": {"sensitivity": options["sensitivity"]},
        "privacy": "clips" if options["clips"] else "scores-only",
        "web": {"may_change": ["sensitivity", "mute"] * options["change_on_page"]},
    }


def of_app(data: Path, folder: Path) -> Document:
    """Make the part that the Supervisor relies on, which nobody chooses."""
    return {
        "state_dir": str(data / "state"),
        "web": {
            "listen": PAGE,
            "trusted_proxy": INGRESS_PROXY,
            "proxy_signs_in": True,
            "frame_ancestors": ["self"],
        },
        # The watchdog needs no token; nobody else is given one.
        "metrics": {
            "listen": HEALTH,
            "token_secret": store(folder / "metrics", secrets.token_urlsafe(32)),
        },
    }


def find_broker(supervisor: str, token: str) -> Document:
    """Ask the Supervisor for Home Assistant's MQTT broker; empty: there is none."""
    try:
        answer = httpx.get(
            f"{supervisor}/services/mqtt",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
            trust_env=False,
        )
        if answer.status_code != httpx.codes.OK:
            logger.info("Home Assistant has no MQTT broker: nothing is published")
            return {}
        found = answer.json()["data"]
        broker = {key: found[key] for key in ("host", "port")}
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        logger.warning("the Supervisor names no MQTT broker: %s", type(error).__name__)
        return {}
    logger.info("publishing to the MQTT broker at %(host)s:%(port)s", broker)
    if found.get("username"):
        broker |= {key: found.get(key) for key in ("username", "password")}
    return broker | {"tls": bool(found.get("ssl"))}


def merged(below: Document, above: Document) -> Document:
    """Lay a configuration over another: sections are joined, other values replaced."""
    joined = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(joined.get(key), dict):
            joined[key] = merged(joined[key], value)
        else:
            joined[key] = value
    return joined


def store(file: Path, secret: str) -> str:
    """Write a secret for the owner of the app alone; return the reference to it."""
    write_private(file, f"{secret}\n")
    return f"file:{file}"


def main() -> None:
    """Become the monitor, with its page."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        file = prepare()
    except (ConfigError, OSError) as error:
        logger.error("%s", error)
        sys.exit(2)
    # Source commands and command hooks are other people's programs.
    environ = {name: text for name, text in os.environ.items() if name not in TOKENS}
    command = ["sound-monitor", "run", "--config", str(file), "--web"]
    command += ["--watchdog", "30"]
    os.execvpe(command[0], command, environ)  # noqa: S606 - no shell is needed


if __name__ == "__main__":
    main()
