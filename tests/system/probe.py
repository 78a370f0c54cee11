"""Runs in the sandbox before the daemon, tries what must fail, and what must not."""

import ctypes
import json
import mmap
import os
import socket
from pathlib import Path

TRIES = {}


def attempt(name, action):
    try:
        action()
    except OSError as error:
        TRIES[name] = error.strerror or str(error)
    else:
        TRIES[name] = "done"


def write(folder):
    path = Path(folder) / "written-by-the-probe"
    attempt(f"write {folder}", lambda: path.write_text("x"))


def call(name, *arguments):
    def action():
        if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    attempt(name, action)


for place in (
    *("/", "/etc", "/etc/sound-monitor", "/usr", "/srv/test", "/var/lib", "/var/log"),
    *("/run", "/home", "/root", "/boot", "/sys", "/proc/sys/kernel", "/dev"),
    *("/tmp", "/var/tmp", str(Path(__import__("sys").prefix))),
    *(os.environ[f"{kind}_DIRECTORY"] for kind in ("STATE", "RUNTIME", "LOGS")),
):
    write(place)
call("unshare", 0x10000000)  # a user namespace
call("mount", b"none", b"/srv", b"tmpfs", 0, None)
call("setuid", 0)
call("sethostname", b"x", 1)
call("settimeofday", ctypes.byref((ctypes.c_long * 2)(0, 0)), None)
attempt("AF_PACKET", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
attempt("AF_INET", lambda: socket.socket(socket.AF_INET).close())
attempt("AF_UNIX", lambda: socket.socket(socket.AF_UNIX).close())
attempt("kill of init", lambda: os.kill(1, 0))
attempt("read secret", Path("/etc/sound-monitor/webhook-token").read_text)
attempt(
    "read credential",
    (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "webhook-token").read_text,
)
attempt("read file of group audio", Path("/srv/test/of-group-audio").read_text)
attempt(
    "executable memory",
    lambda: mmap.mmap(
        -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ).close(),
)
Path(os.environ["STATE_DIRECTORY"], "probe.json").write_text(json.dumps(TRIES))
