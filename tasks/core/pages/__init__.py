"""What people read: HTML pages, cards, and summaries as Markdown."""
