"""The service: a model and its index behind HTTP."""
