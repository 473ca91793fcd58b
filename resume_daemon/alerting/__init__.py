"""From what is wrong now to messages that arrive: flips, the outbox over the ledger, delivery."""
