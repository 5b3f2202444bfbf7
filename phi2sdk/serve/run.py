"""Run the gateway until a signal, and drain it (``phi2 serve``)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from phi2sdk.errors import ConfigurationError
from phi2sdk.serve.gateway import DRAIN_SECONDS, Gateway
from phi2sdk.serve.options import ServeOptions

__all__ = ["run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run(options: ServeOptions, *, say: Callable[[str], None]) -> bool:
    """Serve until SIGINT or SIGTERM, and let running requests end.

    A second signal ends the process at once.

    Args:
        options: What is served.
        say: Receives each line about the state of the gateway.

    Returns:
        Whether all running requests ended in time.

    Raises:
        ConfigurationError: The port cannot be used, or a target cannot be opened.
        Phi2Error: A local model cannot be loaded.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopped.is_set():
            os._exit(130)
        stopped.set()

    for name in _SIGNALS:
        loop.add_signal_handler(name, stop)
    gateway = Gateway(options)
    try:
        async with gateway:
            say(f"serving {', '.join(gateway.models.names)} at {gateway.url}")
            await _until(stopped, gateway, say)
            say(f"no new requests; waiting at most {DRAIN_SECONDS:g} s for the running ones")
            return await gateway.drain()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {options.host} port {options.port}: {error.strerror or error}. "
            "Choose another --port, or 0 for a free one"
        ) from error
    finally:
        for name in _SIGNALS:
            loop.remove_signal_handler(name)


async def _until(stopped: asyncio.Event, gateway: Gateway, say: Callable[[str], None]) -> None:
    """Load the local models, and wait for a signal."""
    loading = asyncio.create_task(gateway.load())
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({loading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            say("ready")
            await waiting
    finally:
        for task in (loading, waiting):
            task.cancel()
        await asyncio.gather(loading, waiting, return_exceptions=True)
