"""ALIAS records whose targets are names of others: their addresses are asked for in the controller, for all workers."""
