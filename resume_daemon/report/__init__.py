"""What people read: rows and sentences made from the ledger."""
