"""The only code that speaks the API of Nomad."""
