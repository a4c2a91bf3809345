"""Full load of all kinds on a running npserver, with every answer checked, while things go wrong: `make soak`."""
