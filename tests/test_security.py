"""No module of the program executes its input or opens an unexpected socket."""

import ast
from collections.abc import Iterator

import pytest

from tests.support import ROOT

MODULES = sorted([*ROOT.glob("monitor/**/*.py"), *ROOT.glob("training/**/*.py")])

# Each can execute its input as code, or hands it to a shell.
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "torch.hub.load",
    "tempfile.mktemp",
    "ssl._create_unverified_context",
}
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "pty",
    "commands",
    "telnetlib",
    "xml.etree",
}
FORBIDDEN_KEYWORDS = {
    "shell": True,
    "allow_pickle": True,
    "weights_only": False,
    "verify": False,
}
# What others can connect to: a socket in a private folder, the endpoint and the page
# that must be asked for and stay on loopback without a token or a password, and the
# rehearsals' own partner.
LISTENERS = {
    "monitor/audio/sources/udp.py",
    "monitor/sinks/status_socket.py",
    "monitor/sinks/metrics_server.py",
    "monitor/web/server.py",
    "monitor/runtime/drills/monitor_process.py",
    "monitor/runtime/drills/endpoint.py",
}
LISTENING = {"bind", "create_server", "start_server", "start_http_server"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call and the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def faults(source: str) -> list[str]:
    """Return the forbidden calls of a module."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [
            f"line {node.lineno}: {name}"
            for name in names
            if any(f"{name}.".startswith(f"{bad}.") for bad in FORBIDDEN_MODULES)
            or name in FORBIDDEN_CALLS
        ]
    for name, call in calls(tree):
        if name in FORBIDDEN_CALLS:
            found.append(f"line {call.lineno}: {name}")
        # A file of torch is a pickle, and can be read as one without being run.
        keywords = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
        if name == "torch.load" and keywords.get("weights_only") is not True:
            found.append(f"line {call.lineno}: torch.load without weights_only=True")
        found += [
            f"line {call.lineno}: {key}={value}"
            for key, value in FORBIDDEN_KEYWORDS.items()
            if keywords.get(key, ...) is value
        ]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import xml.etree.ElementTree",
        "from os import system",
        "import os\nos.system('x')",
        "eval('1')",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "import torch\ntorch.load(x)",
        "import torch\ntorch.load(x, weights_only=False)",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import httpx\nhttpx.Client(verify=False)",
    ],
)
def test_the_search_finds_the_forbidden_calls(source: str) -> None:
    assert faults(source)


def test_no_module_executes_its_input() -> None:
    assert len(MODULES) > 100
    found = {
        str(path.relative_to(ROOT)): bad
        for path in MODULES
        if (bad := faults(path.read_text()))
    }
    assert not found


def listens(source: str) -> bool:
    """Return whether a module opens a socket for clients."""
    tree = ast.parse(source)
    names = {name.split(".")[-1] for name, _ in calls(tree)}
    names |= {
        ast.unparse(base).split(".")[-1]
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    return bool(names & LISTENING) or any(
        name.endswith(("HTTPServer", "TCPServer")) for name in names
    )


def test_only_the_known_modules_open_a_socket() -> None:
    assert listens("import socket\nsocket.socket().bind(('', 80))")
    assert listens("class Server(http.server.ThreadingHTTPServer): ...")
    found = {
        str(path.relative_to(ROOT)) for path in MODULES if listens(path.read_text())
    }
    assert found <= LISTENERS
