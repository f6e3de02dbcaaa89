"""The commands of ``edgecritic export``, a module each, imported when it is asked for."""
