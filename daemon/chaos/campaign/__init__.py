"""A campaign under chaos: made, paused and resumed at random moments, and judged by what reached the stand-in."""
