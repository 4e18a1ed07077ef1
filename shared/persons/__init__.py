"""The persons who act at a coordinator or a site: who they are, what they may do, what they signed."""
