"""What will be: when what is queued will have gone."""
