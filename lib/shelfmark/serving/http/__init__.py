"""The service over HTTP. These files need the extra `serve`; others import them within functions."""
