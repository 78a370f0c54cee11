"""`sound-monitor devices`: lists the microphones."""

from dataclasses import asdict

from monitor.commands.arguments import JsonOption

HELP = """List the microphones and other inputs of this machine.

After 'mic:', write a name, a part of it that only one device has, or the
stable id.  The daemon waits for a device that is not connected yet.

Examples:
  sound-monitor devices
  sound-monitor run --input "mic:USB Audio"
"""


def devices(as_json: JsonOption = False) -> int:
    """Print every input device; loads no torch."""
    from monitor.audio.sources.microphone import list_devices
    from monitor.commands.process import print_json, print_table

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
