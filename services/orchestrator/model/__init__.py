"""One model turn: which endpoint answers, and how to speak to it. Knows no task."""
