"""`sound-monitor devices`: what can be captured from."""

from dataclasses import asdict

from monitor.commands.arguments import JsonOption

HELP = """List the microphones and other inputs of this machine.

A name, a part of it that fits only one device, or the stable id goes after 'mic:'.
The list is as of now; the daemon finds a device again that is plugged in later.

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
            ("NAME", "ID", "CHANNELS", "RATE", "THROUGH", ""),
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
        print_line("there is no input device; a daemon would wait until there is one")
    return 0
