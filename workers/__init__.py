"""Between the world and the log: channels, receiver, inbound, outbound, intake."""
