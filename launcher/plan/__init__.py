"""From a config to who runs where: nodes, ranks, GPUs, ports, commands. Pure."""
