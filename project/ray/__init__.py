"""Ray: what a job takes of a cluster's node, how it is begun there, listened to, begun again elsewhere, and ended."""
