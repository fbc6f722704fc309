"""The service over HTTP. These files need the extra `serve`: whoever imports one from elsewhere does so in a function."""
