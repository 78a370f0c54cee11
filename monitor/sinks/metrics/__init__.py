"""How the monitor is doing, for programs that watch it over HTTP."""
