"""How the monitor is doing, told to whoever asks on a private socket."""
