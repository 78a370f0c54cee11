"""`sound-monitor devices`: lists the microphones, and cameras of the network."""

from dataclasses import asdict
from typing import Annotated

from monitor.commands.arguments import JsonOption, flag

HELP = """List the microphones and other inputs of this machine.

After 'mic:', write a name, a part of it that only one device has, or the
stable id.  The daemon waits for a device that is not connected yet.

With --cameras, the cameras that announce themselves in the network by
multicast DNS are listed instead, with the URL to begin with; many cameras do
not announce the path, which their manual names.

Examples:
  sound-monitor devices
  sound-monitor devices --cameras
  sound-monitor run --input "mic:USB Audio"
"""


def devices(
    cameras: Annotated[
        bool, flag("--cameras", "List the cameras of the network, for three seconds.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Print every input device, or the cameras; loads no torch."""
    from monitor.audio.sources.microphone import list_devices
    from monitor.commands.process import print_json, print_table

    if cameras:
        return _cameras(as_json)
    found = list_devices()
    rows = [
        (
            each.name,
            each.stable_id or "-",
            str(each.channels),
            f"{each.sample_rate:.0f} Hz",
            each.host_api,
            "default" if each.is_default else "",
        )
        for each in found
    ]
    if as_json:
        print_json([asdict(device) for device in found])
    else:
        header = ("NAME", "ID", "CHANNELS", "RATE", "HOST API", "")
        print_table(
            header, rows, "no input device found; the daemon would wait for one"
        )
    return 0


def _cameras(as_json: bool) -> int:
    from monitor.audio.sources.discovery import find_cameras
    from monitor.commands.process import print_json, print_table
    from monitor.errors import SourceError
    from monitor.extras import require_extra

    require_extra("network", "zeroconf", "--cameras")
    try:
        found = find_cameras()
    except OSError as error:
        raise SourceError(f"the network cannot be asked: {error}") from error
    if as_json:
        print_json([asdict(camera) for camera in found])
    else:
        rows = [(camera.name, camera.url) for camera in found]
        nothing = "no camera announces itself; its manual or its app names the URL"
        print_table(("NAME", "URL"), rows, nothing)
    return 0
