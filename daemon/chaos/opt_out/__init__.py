"""`duly chaos --scenario opt-out`: whatever may stop a delivery races the daemons that would send it."""
