"""Training of PersonNet, the embedded person detector."""
