"""The clients, and their policies: retry, fallback, budget and telemetry."""

from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.streaming import CompletionStream
from phi2sdk.client.sync_client import Phi2Client, SyncCompletionStream

__all__ = ["AsyncPhi2Client", "CompletionStream", "Phi2Client", "SyncCompletionStream"]
