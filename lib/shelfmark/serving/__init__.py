"""The service: a model, and an index where there is one, answer over HTTP. `http/` alone knows FastAPI and uvicorn."""
