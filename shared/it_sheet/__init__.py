"""What an IT department keeps of a role: a firewall matrix and a checklist, one printed page each, from the
actual configuration."""
