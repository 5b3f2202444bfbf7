"""What the recorded numbers say: statistics, agreement, cost and decision."""
