"""The web page: a process of its own that reads the store and the status socket."""
