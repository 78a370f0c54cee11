"""The sources: microphones, cameras, streams, files, commands and the demo scene.

Empty: the capture child imports this package too, and has to start quickly.
"""
