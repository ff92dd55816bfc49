"""Two-step verification as an HTTP API, with `AsyncMFA`, FastAPI and an OpenAPI document.

`api.py` and `problems.py` are what a platform writes to use mfakit; `platform.py` stands for the
accounts and sessions that were there before. Start it from the top of the repository:
`python -m examples.fastapi_service`.
"""

from examples.fastapi_service.app import create_app

__all__ = ["create_app"]
