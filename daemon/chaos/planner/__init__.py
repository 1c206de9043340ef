"""`duly chaos --scenario planner`: daemons are killed while they plan a day and send what they have planned."""
