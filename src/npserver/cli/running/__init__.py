"""Commands for a running server: `npserver status` and others, which ask it over the control socket."""
