"""A cluster of Ray with two nodes on this machine, as a program.

Prints its address, removes the second node at a line of input, and ends at its end.
"""

import logging
import sys
import tempfile
from pathlib import Path

from ray.cluster_utils import Cluster


def main(temp_dir: str) -> None:
    """Run until the end of the input."""
    # Ray notes the address of the cluster there, and makes the folder elsewhere only.
    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)
    head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": temp_dir}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        _say(cluster.address)
        for _ in sys.stdin:
            cluster.remove_node(second, allow_graceful=False)
            _say("removed")
    finally:
        cluster.shutdown()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main(sys.argv[1])
