"""Text to batches of token ids: labelled texts, running text, sentences with translations."""
