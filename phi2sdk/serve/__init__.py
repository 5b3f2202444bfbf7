"""A gateway that serves any targets to clients of the OpenAI protocol (``phi2 serve``)."""

from phi2sdk.serve.gateway import Gateway
from phi2sdk.serve.options import ServeOptions

__all__ = ["Gateway", "ServeOptions"]
