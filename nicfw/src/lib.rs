//! nicfw
