"""The site's policy: what the hospital lets happen here, refusing by default."""
