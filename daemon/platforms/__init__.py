"""The providers: what they share (`base`) and one module each."""
