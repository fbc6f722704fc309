"""The command of the service: `shelfmark serve`."""

from __future__ import annotations

import argparse

from shelfmark.cli.existing import checkpoint, existing_file, existing_folder
from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option
from shelfmark.core.errors import UserError


def serve(args: argparse.Namespace) -> Outcome:
    if (args.model is None) == (args.RESUME_MODEL is None):
        raise UserError(
            "name what is served: --model DIR, a folder that `shelfmark export` wrote, or --RESUME_MODEL CKPT, a"
            " checkpoint; one of the two."
        )
    if args.model is not None and args.overrides:
        raise UserError(
            f"{args.overrides[0].key} cannot be set for an exported model, whose options are fixed. Leave it out, or"
            " serve the checkpoint: --RESUME_MODEL CKPT."
        )
    for flag, least in (("batch", 1), ("decoders", 1), ("threads", 0), ("port", 0)):
        if getattr(args, flag) < least or getattr(args, flag) > 65535:
            raise UserError(f"--{flag} {getattr(args, flag)} is not a number from {least} to 65535.")
    from shelfmark.serving.access import Access

    access = Access.of(args.host, args.allow_host, args.token_file)
    try:
        from shelfmark.serving.http.server import Listening, Server
    except ModuleNotFoundError as error:
        raise UserError(f"the service needs the package {error.name}: pip install -e '.[serve]'.") from None
    from shelfmark.core.allocator import keep_freed_memory
    from shelfmark.core.cores import num_cores
    from shelfmark.serving.limits import Limits
    from shelfmark.serving.versions import Source

    if args.RESUME_MODEL is not None:
        # Passes in torch take half the time with it; onnxruntime keeps its memory by itself.
        keep_freed_memory()
    source = Source(
        model=args.model,
        checkpoint=args.RESUME_MODEL,
        index=args.index,
        overrides=args.overrides,
        decoders=args.decoders,
        threads=args.threads or num_cores(),
    )
    listening = Listening(host=args.host, port=args.port, watch=args.watch, openapi=args.openapi)
    return Outcome({"requests": Server(source, access, listening, Limits(batch=args.batch)).run()})


SERVE_COMMANDS = {
    "serve": Command(
        "answer photographs over HTTP, with a page to try it on; docs/serving.md has the requests and the limits",
        serve,
        [
            option(
                "--model",
                "folder of the exported model",
                type=existing_folder("an exported model", "Write one with `shelfmark export`."),
                metavar="DIR",
            ),
            option(
                "--RESUME_MODEL",
                "folder of the checkpoint, in place of an exported model",
                type=checkpoint,
                metavar="CKPT",
            ),
            option(
                "--index",
                "folder of the index: with it, neighbours vote and are shown, and /search answers",
                type=existing_folder("an index", "Build one with `shelfmark index build`."),
                metavar="DIR",
            ),
            option(
                "--host", "address to listen on. Any but this machine's own needs --token-file", default="127.0.0.1"
            ),
            option("--port", "port to listen on. 0: a free one, which is printed", type=int, default=8000, metavar="N"),
            option(
                "--token-file",
                "file with the secret that clients must send: Authorization: Bearer SECRET",
                type=existing_file("a token file"),
                metavar="FILE",
            ),
            option(
                "--allow-host",
                "further names that clients reach the service by, besides localhost and numeric addresses",
                nargs="+",
                default=[],
                metavar="NAME",
            ),
            option(
                "--watch",
                "serve a model or an index as soon as it is published in the same folder; SIGHUP does it once",
                action="store_true",
            ),
            option(
                "--batch",
                "photographs that pass the model together at most. On a GPU more are faster",
                type=int,
                default=8,
                metavar="N",
            ),
            option("--decoders", "processes that decode photographs", type=int, default=2, metavar="N"),
            option("--threads", "threads of the model. 0: one for each core", type=int, default=0, metavar="N"),
            option("--openapi", "describe the requests at /openapi.json", action="store_true"),
        ],
    )
}
