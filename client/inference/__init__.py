"""From one mammogram and a verified model to a density report."""
