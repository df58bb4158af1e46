"""FinTunnel's training side: a database becomes an instruction set, an instruction set an adapter."""
