"""Which tensor gets how many bits: candidates, what they cost, and the best of them under budgets."""
