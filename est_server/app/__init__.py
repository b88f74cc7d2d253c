"""The composition root: from the configuration to a serving process.

clock       the machine's time
parts       what the configuration names, opened
periodic    work that comes back: health, heartbeat and the like
listeners   addresses, TLS contexts and what answers there
server      one process, from start to stop
"""
