"""What `bench.serve` is made of: the peers, their processes, the load and the headlines."""
