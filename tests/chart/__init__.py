"""The Helm chart: rendered, judged, and run as far as a machine without a cluster can."""
