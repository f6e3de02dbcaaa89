"""Will it fit? Memory, disk and time of a critic on this machine, told before it is loaded."""
