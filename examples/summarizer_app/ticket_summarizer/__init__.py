"""Support tickets in one sentence each."""

from ticket_summarizer.service import Summarizer, Summary, Ticket

__all__ = ["Summarizer", "Summary", "Ticket"]
