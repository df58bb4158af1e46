"""FinTunnel's server: a base model with an adapter behind `/analyze`, opened to the world by a tunnel."""
