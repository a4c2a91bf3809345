"""Logs that are sent: to syslog servers, to the syslog socket of the machine, to the journal."""
