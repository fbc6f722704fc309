"""Checkpoints at the Hugging Face hub, or at an endpoint like it. Nothing else talks to it about checkpoints."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars

from shelfmark.core.errors import UserError
from shelfmark.core.folders import CARD
from shelfmark.engine.foreign_checkpoint import FILES
from shelfmark.models.hub import require_reachable

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{6,}|(?i:bearer)\s+\S+")
_SHOWN_CHARS = 200


def upload(folder: Path, repository: str, private: bool, message: str) -> str:
    """Puts the files of a folder into a repository, which is made if it is not there; returns its address."""
    with _told(repository):
        api = _api()
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
        return str(made)


def download(repository: str, revision: str | None, folder: Path) -> None:
    """Fetches the files of a checkpoint, and its card where there is one, into an empty folder; no other file."""
    with _told(repository):
        api = _api()
        for name in FILES:
            api.hf_hub_download(repository, name, revision=revision, local_dir=folder)
        with suppress(RemoteEntryNotFoundError):
            api.hf_hub_download(repository, CARD, revision=revision, local_dir=folder)
    # What the hub's client keeps for itself.
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, else Hugging Face's."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _api() -> HfApi:
    disable_progress_bars()
    require_reachable(endpoint())
    return HfApi(endpoint=endpoint())


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """Turns the errors of the hub's client into one that teaches, without a token in it."""
    try:
        yield
    except UserError:
        raise
    except RemoteEntryNotFoundError as error:
        raise UserError(
            f"{repository} holds no checkpoint of Shelfmark: one of {', '.join(FILES)} is missing ({_reason(error)})."
        ) from None
    except GatedRepoError:
        raise UserError(
            f"{repository} is gated: ask for access on its page, {endpoint()}/{repository}, then log in with"
            " `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"there is no repository {repository} at {endpoint()}, or you may not see it. Look at its name, OWNER/NAME,"
            " and log in with `hf auth login`, or set HF_TOKEN."
        ) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        refused = (
            "" if status not in (401, 403) else " Log in with `hf auth login`, or set HF_TOKEN to a token that may."
        )
        raise UserError(f"{repository}: {endpoint()} answered {status}: {_reason(error)}.{refused}") from None
    except Exception as error:  # The client, its transport and the proxy before it each fail in their own classes.
        offline = " HF_HUB_OFFLINE is set." if constants.HF_HUB_OFFLINE else ""
        raise UserError(f"{repository}: {endpoint()} cannot be used: {_reason(error)}.{offline}") from None


def _reason(error: Exception) -> str:
    """The first line of an error without tokens."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    for secret in (os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN")):
        text = text.replace(secret, "***") if secret else text
    text = _TOKEN.sub("***", text).rstrip(".")
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} ..."
