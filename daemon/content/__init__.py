"""What is said: rendering, and later templates and variants."""
