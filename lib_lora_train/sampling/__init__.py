"""Drawing pictures from a loan with an adapter attached."""
