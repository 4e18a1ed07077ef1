"""The audit log: what happened, and who did it, so that nobody can change it unseen."""
