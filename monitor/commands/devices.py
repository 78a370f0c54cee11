"""`sound-monitor devices`: lists the microphones."""

from dataclasses import asdict

from monitor.commands.arguments import JsonOption

HELP = """List the microphones and other inputs of this machine.

Write a name, a part of it that matches only one device, or the stable id after 'mic:'.
The daemon waits for a device that is not connected yet.

\b
Examples:
  sound-monitor devices
  sound-monitor run --input "mic:USB Audio"
"""


def devices(as_json: JsonOption = False) -> int:
    """Print every input device; loads no torch."""
    from monitor.audio.sources.microphone import list_devices
    from monitor.commands.output import print_json, print_line, print_table

    found = list_devices()
    if as_json:
        print_json([asdict(device) for device in found])
    elif found:
        print_table(
            ("NAME", "ID", "CHANNELS", "RATE", "HOST API", ""),
            [
                (
                    device.name,
                    device.stable_id or "-",
                    str(device.channels),
                    f"{device.sample_rate:.0f} Hz",
                    device.host_api,
                    "default" if device.is_default else "",
                )
                for device in found
            ],
        )
    else:
        print_line("no input device found; the daemon would wait for one")
    return 0
