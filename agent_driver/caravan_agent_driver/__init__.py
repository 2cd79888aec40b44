"""The agent on each Nomad client: prepares kernels, mounts folders, tells what happens on the node."""
