"""Preference rounds: a policy answers, a critic ranks, the policy learns, and so on."""
