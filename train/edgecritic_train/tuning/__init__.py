"""Fine-tuning of 7B critics: adapters over a base model, trained on critic rows."""
