"""Rows judged by a teacher: planned, asked once each, kept in a ledger, checked, written."""
