"""Cross-entropy of the product of hidden states and a matrix, without its logits."""
