"""Summarize each support ticket in one sentence."""

from ticket_summarizer.service import Summarizer, Summary, Ticket

__all__ = ["Summarizer", "Summary", "Ticket"]
