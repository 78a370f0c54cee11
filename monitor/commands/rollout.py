"""`sound-monitor rollout`: signed bundles of settings and a model for a fleet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.commands.arguments import JsonOption, argument, option
from monitor.commands.process import (
    Command,
    Group,
    print_help_without_command,
    print_json,
    print_line,
    print_lines,
)
from monitor.errors import ConfigError, SoundMonitorError, UsageError
from monitor.extras import require_extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from monitor.config.bundle import BundleSettings

HELP = """Make signed bundles, which the monitors of a fleet take by themselves.

A bundle brings the sections detection, level, health and canary, the labels
and the model; each key in it replaces that of the monitors.  Sources, alerts,
secrets and places stay as each monitor has them.  Monitors find the bundle at
rollout.url of their configuration; docs/fleet.md has the whole way.

Make the same version again with a larger --share for more of the fleet, and a
higher version for anything else.

Examples:
  sound-monitor rollout key my.key
  sound-monitor rollout make fleet.yaml --version 12 --key my.key --share 0.1
  sound-monitor rollout show fleet.bundle
"""

rollout = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    callback=print_help_without_command,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@rollout.command("key", cls=Command)
def make_key(
    path: Annotated[Path, argument("PATH", "New file for the private key.")],
) -> int:
    """Make a pair of keys; print the public one, for rollout.public_keys."""
    require_extra("rollout", "cryptography", "rollout key")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from monitor.private_files import write_private

    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} exists: a key is never replaced; give another name")
    key = Ed25519PrivateKey.generate()
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_private(path, key.private_bytes(*form).decode())
    except OSError as error:
        raise SoundMonitorError(f"{path}: {error.strerror}") from None
    print_line(_public(key))
    return 0


@rollout.command("make", cls=Command)
def make_bundle(
    config: Annotated[Path, argument("FILE", "Settings, as in config.yaml.")],
    version: Annotated[int, option("N", "Number, higher than any before.", min=1)],
    key: Annotated[Path, option("PATH", "Private key, see 'rollout key'.")],
    model: Annotated[
        Path | None, option("FILE", "Model file that the bundle brings.")
    ] = None,
    share: Annotated[
        float, option("SHARE", "Share of the monitors that use it.", min=0.0001, max=1)
    ] = 1.0,
    out: Annotated[
        Path | None,
        option("FILE", "The bundle.", show_default="beside FILE, as NAME.bundle"),
    ] = None,
) -> int:
    """Check settings and a model, and sign them as a bundle."""
    require_extra("rollout", "cryptography", "rollout make")
    from monitor.config.load import check_settings
    from monitor.runtime.bundle_file import BundleManifest, read_bundle, write_bundle

    out = config.with_suffix(".bundle") if out is None else out
    signer, settings, content = _read_key(key), _read_settings(config, model), b""
    data: dict[str, Any] = {"version": version, "share": share, "settings": settings}
    try:
        if model is not None:
            content = model.read_bytes()
            data["model_bytes"] = len(content)
        _check_fits(settings, model)
        write_bundle(
            out, check_settings(BundleManifest, data, "bundle"), content, signer
        )
        read_bundle(out, {_public(signer)})
    except OSError as error:
        raise SoundMonitorError(f"{error.filename}: {error.strerror}") from None
    print_line(f"wrote {out}: version {version} for {100 * share:g} % of the fleet")
    return 0


@rollout.command("show", cls=Command)
def show_bundle(
    file: Annotated[Path, argument("FILE", "A bundle.")], as_json: JsonOption = False
) -> int:
    """Verify a bundle; print its version, share, key, settings and model."""
    require_extra("rollout", "cryptography", "rollout show")
    import yaml

    from monitor.runtime.bundle_file import BundleError, read_bundle

    try:
        bundle = read_bundle(file, None)
    except BundleError as error:
        raise SoundMonitorError(f"{file}: {error}") from None
    except OSError as error:
        raise SoundMonitorError(f"{file}: {error.strerror}") from None
    facts = bundle.manifest.model_dump(mode="json", exclude_unset=True)
    facts |= {"share": bundle.manifest.share, "public_key": bundle.key}
    if as_json:
        print_json(facts)
    else:
        text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
        print_lines(text.splitlines())
    return 0


def _public(key: "Ed25519PrivateKey") -> str:
    import base64

    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def _read_key(path: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"--key: {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"--key: {path} is no private key of `sound-monitor rollout key`"
        )
    return key


def _read_settings(path: Path, model: Path | None) -> "BundleSettings":
    """Read the settings; a model file that they do not name is the only one.

    Raises:
        ConfigError: They are wrong, or none that a bundle may bring.
    """
    from monitor.commands.configuration_file import read_file
    from monitor.config.bundle import OWN_MODEL, BundleSettings
    from monitor.config.config import Config
    from monitor.config.load import parse_settings
    from monitor.config.strict_yaml import read_yaml

    text, origin = read_file(path, "settings of a bundle"), str(path)
    document = read_yaml(text, origin)
    for name in document.data:
        if name in Config.model_fields and name not in BundleSettings.model_fields:
            raise ConfigError(
                f"{origin}:{document.line((name,))}: {name}: a bundle cannot bring "
                "this; it stays in the configuration of each monitor"
            )
    settings = parse_settings(BundleSettings, text, origin)
    if model is not None and settings.model is None and settings.models is None:
        update = {"model": OWN_MODEL}
        settings = settings.model_copy(update=update)
    if settings.uses_own_model != (model is not None):
        raise ConfigError(
            f"{origin}: the name bundle stands for the model of --model: give both, "
            "or none of them"
        )
    return settings


def _check_fits(settings: "BundleSettings", model: Path | None) -> None:
    """Check settings and model together, as `check` does on a default monitor.

    Raises:
        SoundMonitorError: They do not fit, or the golden vector of the model differs.
    """
    from tempfile import TemporaryDirectory

    from monitor.commands.configuration_check import check_models
    from monitor.config.bundle import merge_bundle
    from monitor.config.config import Config

    config = merge_bundle(Config(), settings, model, "bundle")
    with TemporaryDirectory() as no_taught_labels:
        if faults := check_models(config, Path(no_taught_labels)):
            raise ConfigError("\n".join(faults))
