"""What a collector is told over OTLP: traces, metrics and logs, made from what was recorded, by a thread of its own."""
