"""The parts of benches/load/run; standard library only."""
