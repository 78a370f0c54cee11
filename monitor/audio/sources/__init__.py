"""The sources: microphones, files, commands and the demo scene.

Empty: the capture child imports this package too, and has to start quickly.
"""
