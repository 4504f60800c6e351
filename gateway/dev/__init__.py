"""For trying the gateway out: two echo backends, a launcher for all of it, a restart when a file is edited."""
