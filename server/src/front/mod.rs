//! What carries the engine: real transports with a clock.
