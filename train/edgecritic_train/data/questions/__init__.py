"""Question types: each samples two truths, draws both scenes and words the answers."""
